package dev.imago.cli;

import dev.imago.Images;
import dev.imago.image.CheckResult;
import java.util.Locale;

/** {@code check}: looks for contradictions in an image's own structures and changes nothing. */
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
    ProgressOutput.Style style = ProgressOutput.Style.NONE;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "check");
        }
        case "f" -> format = options.value();
        case "q" -> quiet = true;
        case "repair" -> refuseRepair(options.value());
        case "cache" -> cache = options.value();
        case "force-share" -> forceShare = true;
        case "output" -> output = options.value();
        case "progress" -> style = ProgressOutput.style(options.value());
        default -> throw GetOpt.notSupported(option);
      }
    }
    final FileName name = options.onlyFile();
    final OutputFormat outputFormat = OutputFormat.of(output);
    // The check reads each table once: there is nothing for a cache mode to change.
    CacheMode.source(cache);
    var progress =
        new ProgressOutput(terminal, "check", quiet ? ProgressOutput.Style.NONE : style, 1);
    progress.begin();
    Opening.requireKnown(name, format, 1);
    String asked = format;
    boolean shared = forceShare;
    CheckResult result =
        Opening.attempt(name, 1, path -> Images.check(path, asked, shared, progress));
    progress.stop();
    for (String finding : result.findings()) {
      terminal.note(finding);
    }
    if (!quiet) {
      terminal.print(outputFormat == OutputFormat.JSON ? json(name, result) : human(result));
    }
    if (result.checkErrors() > 0) {
      throw new Failure("Check failed");
    }
    return result.corruptions() > 0 ? 2 : result.leaks() > 0 ? 3 : 0;
  }

  private static void refuseRepair(String word) throws UsageException, Failure {
    if (!word.equals("leaks") && !word.equals("all")) {
      throw new UsageException("Unknown option value for -r (expecting 'leaks' or 'all'): " + word);
    }
    throw GetOpt.notSupported("r");
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
      text.append(
          String.format(
              Locale.ROOT,
              "%d/%d = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed clusters%n",
              allocated,
              result.totalClusters(),
              allocated * 100.0 / result.totalClusters(),
              result.fragmentedClusters() * 100.0 / allocated,
              result.compressedClusters() * 100.0 / allocated));
    }
    if (result.imageEndOffset() > 0) {
      text.append("Image end offset: ").append(result.imageEndOffset()).append('\n');
    }
    return text.toString();
  }

  static String json(FileName name, CheckResult result) {
    Dict dict =
        new Dict()
            .put("filename", name.typed())
            .put("format", "qcow2")
            .put("check-errors", result.checkErrors());
    putIfSet(dict, "image-end-offset", result.imageEndOffset());
    putIfSet(dict, "corruptions", result.corruptions());
    putIfSet(dict, "leaks", result.leaks());
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
