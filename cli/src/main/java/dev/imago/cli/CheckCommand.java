package dev.imago.cli;

import dev.imago.CheckUnsupportedException;
import dev.imago.Images;
import dev.imago.image.CheckResult;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import java.math.BigDecimal;
import java.math.RoundingMode;

/**
 * {@code check}: looks for contradictions in an image's own structures; changes nothing, but with
 * {@code -r}.
 */
final class CheckCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.flag('q'),
    new Option('r', "repair", true),
    new Option('T', "cache", true),
    Option.flag('U', "force-share"),
    Option.value("output"),
    Option.value("progress"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private CheckCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    String output = "human";
    String cache = "writeback";
    boolean quiet = false;
    boolean forceShare = false;
    RepairMode repair = null;
    boolean imageOpts = false;
    ProgressOutput.Style style = ProgressOutput.Style.NONE;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "check");
        }
        case "f" -> format = options.value();
        case "q" -> quiet = true;
        case "repair" -> repair = repairMode(options.value());
        case "cache" -> cache = options.value();
        case "force-share" -> forceShare = true;
        case "output" -> output = options.value();
        case "progress" -> style = ProgressOutput.style(options.value());
        case "object" -> terminal.secrets().add(options.value());
        case "image-opts" -> imageOpts = true;
        default -> throw GetOpt.notSupported(option);
      }
    }
    final Source source = options.onlySource(imageOpts, format);
    final FileName name = source.name();
    final OutputFormat outputFormat = OutputFormat.of(output);
    // The check reads each table once: there is nothing for a cache mode to change.
    CacheMode.source(cache);
    Opening.requireLocks(name, repair != null, forceShare);
    var progress =
        new ProgressOutput(terminal, "check", quiet ? ProgressOutput.Style.NONE : style, 1);
    progress.begin();
    String asked = source.format();
    if (name.nodes() == null) {
      Opening.requireKnown(name, asked, 1);
    }
    if (repair != null) {
      RepairMode mode = repair;
      RepairResult result;
      try {
        result =
            Opening.attempt(
                source,
                terminal,
                true,
                false,
                (at, known) -> Images.repair(at, known, mode, progress));
      } catch (Failure e) {
        if (asked == null && e.getCause() instanceof CheckUnsupportedException) {
          Opening.warnOfProbing(terminal, name);
        }
        throw e;
      }
      progress.stop();
      return tell(terminal, name, outputFormat, quiet, result);
    }
    boolean shared = forceShare;
    CheckResult result =
        Opening.attempt(
            source, terminal, false, shared, (at, known) -> Images.check(at, known, progress));
    progress.stop();
    for (String finding : result.findings()) {
      terminal.note(finding);
    }
    if (!quiet) {
      terminal.print(outputFormat == OutputFormat.JSON ? json(name, result) : human(result));
    }
    return exitCode(result);
  }

  private static int exitCode(CheckResult result) throws Failure {
    if (result.checkErrors() > 0) {
      throw new Failure("Check failed");
    }
    return result.corruptions() > 0 ? 2 : result.leaks() > 0 ? 3 : 0;
  }

  /** Says what a repair did and what is left. */
  private static int tell(
      Terminal terminal, FileName name, OutputFormat format, boolean quiet, RepairResult result)
      throws Failure {
    for (String line : result.lines()) {
      terminal.note(line);
    }
    if (result.refused()) {
      throw new Failure("Check failed: Input/output error");
    }
    CheckResult left = result.left();
    if (result.repaired()) {
      if (!quiet && format == OutputFormat.HUMAN) {
        terminal.print(
            "The following inconsistencies were found and repaired:\n\n    %d leaked clusters\n    %d corruptions\n\nDouble checking the fixed image now...\n"
                .formatted(result.leaksFixed(), result.corruptionsFixed()));
      }
      for (String finding : left.findings()) {
        terminal.note(finding);
      }
    }
    for (RepairResult.Lost lost : result.lost()) {
      terminal.note(
          "Not repaired: %d bytes at guest offset 0x%x, host offset 0x%x: %s"
              .formatted(lost.length(), lost.guestOffset(), lost.hostOffset(), lost.why()));
    }
    if (!quiet) {
      terminal.print(
          format == OutputFormat.JSON
              ? json(name, left, result.corruptionsFixed(), result.leaksFixed())
              : human(left));
    }
    return exitCode(left);
  }

  private static RepairMode repairMode(String word) throws UsageException {
    return switch (word) {
      case "leaks" -> RepairMode.LEAKS;
      case "all" -> RepairMode.ALL;
      default ->
          throw new UsageException(
              "Unknown option value for -r (expecting 'leaks' or 'all'): " + word);
    };
  }

  static String human(CheckResult result) {
    StringBuilder text = new StringBuilder();
    if (result.clean()) {
      text.append("No errors were found on the image.\n");
    }
    if (result.corruptions() > 0) {
      text.append('\n')
          .append(result.corruptions())
          .append(" errors were found on the image.\n")
          .append("Data may be corrupted, or further writes to the image may corrupt it.\n");
    }
    if (result.leaks() > 0) {
      text.append('\n')
          .append(result.leaks())
          .append(" leaked clusters were found on the image.\n")
          .append("This means waste of disk space, but no harm to data.\n");
    }
    if (result.checkErrors() > 0) {
      text.append('\n')
          .append(result.checkErrors())
          .append(" internal errors have occurred during the check.\n");
    }
    long allocated = result.allocatedClusters();
    if (result.totalClusters() > 0 && allocated > 0) {
      text.append(allocated).append('/').append(result.totalClusters()).append(" = ");
      text.append(percent(allocated, result.totalClusters())).append("% allocated, ");
      text.append(percent(result.fragmentedClusters(), allocated)).append("% fragmented, ");
      text.append(percent(result.compressedClusters(), allocated))
          .append("% compressed clusters\n");
    }
    if (result.imageEndOffset() > 0) {
      text.append("Image end offset: ").append(result.imageEndOffset()).append('\n');
    }
    return text.toString();
  }

  /** With two digits; a half goes to the even one, as in C. */
  private static String percent(long part, long whole) {
    return new BigDecimal(part * 100.0 / whole).setScale(2, RoundingMode.HALF_EVEN).toString();
  }

  static String json(FileName name, CheckResult result) {
    return json(name, result, 0, 0);
  }

  private static String json(
      FileName name, CheckResult result, long corruptionsFixed, long leaksFixed) {
    Dict dict =
        new Dict()
            .put("filename", name.typed())
            .put("format", "qcow2")
            .put("check-errors", result.checkErrors());
    putIfSet(dict, "image-end-offset", result.imageEndOffset());
    putIfSet(dict, "corruptions", result.corruptions());
    putIfSet(dict, "leaks", result.leaks());
    putIfSet(dict, "corruptions-fixed", corruptionsFixed);
    putIfSet(dict, "leaks-fixed", leaksFixed);
    putIfSet(dict, "total-clusters", result.totalClusters());
    if (result.totalClusters() > 0) {
      putIfSet(dict, "allocated-clusters", result.allocatedClusters());
      putIfSet(dict, "fragmented-clusters", result.fragmentedClusters());
      putIfSet(dict, "compressed-clusters", result.compressedClusters());
    }
    StringBuilder text = new StringBuilder();
    Json.append(text, dict);
    return text.append('\n').toString();
  }

  private static void putIfSet(Dict dict, String key, long value) {
    if (value != 0) {
      dict.put(key, value);
    }
  }
}
