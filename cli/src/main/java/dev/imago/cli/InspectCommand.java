package dev.imago.cli;

import dev.imago.Images;
import dev.imago.Inspection;
import dev.imago.qcow2.Qcow2Info;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * {@code inspect}: what one file says about itself, and whether {@code --safe} would open it. Opens
 * nothing that it names. qemu-img has no such command.
 */
final class InspectCommand {
  /** Exit code for an image that was read, and is not to be trusted. */
  private static final int REFUSED = 2;

  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.value("output"),
    Option.flag('U', "force-share")
  };

  private InspectCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    String output = "human";
    boolean forceShare = false;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "inspect");
        }
        case "f" -> format = options.value();
        case "output" -> output = options.value();
        case "force-share" -> forceShare = true;
        default -> throw GetOpt.notSupported(option);
      }
    }
    FileName name = options.onlyFile();
    OutputFormat outputFormat = OutputFormat.of(output);
    if (format != null && !Images.formats().contains(format)) {
      throw new Failure("Could not open '" + name.typed() + "': Unknown driver '" + format + "'");
    }
    String asked = format;
    boolean shared = forceShare;
    Inspection found = Opening.attempt(name, 1, path -> Images.inspect(path, asked, shared));
    List<String> looksLike = Opening.attempt(name, 1, Signatures::of);
    Verdict verdict = Verdict.of(found, asked, looksLike);
    terminal.print(
        outputFormat == OutputFormat.JSON
            ? json(found, verdict, looksLike)
            : human(found, verdict, looksLike));
    return verdict.accepted() ? 0 : REFUSED;
  }

  private static String human(Inspection found, Verdict verdict, List<String> looksLike) {
    StringBuilder text = new StringBuilder();
    line(text, "image", found.name());
    line(text, "file format", found.format());
    line(text, "matching formats", String.join(" ", found.matching()));
    if (!looksLike.isEmpty()) {
      line(text, "looks like, not known here", String.join(" ", looksLike));
    }
    text.append("virtual size: ");
    HumanSize.append(text, found.virtualSize());
    text.append(" (").append(found.virtualSize()).append(" bytes)\n");
    text.append("file length: ");
    HumanSize.append(text, found.fileLength());
    text.append(" (").append(found.fileLength()).append(" bytes)\n");
    if (found.backingFile() != null) {
      line(text, "names as backing file", found.backingFile());
    }
    if (found.backingFormat() != null) {
      line(text, "names as backing format", found.backingFormat());
    }
    if (found.dataFile() != null) {
      line(text, "names as data file", found.dataFile());
    }
    line(text, "encrypted", yes(found.encrypted()));
    line(text, "dirty", yes(found.dirty()));
    line(text, "corrupt", yes(found.corrupt()));
    line(text, "snapshots", Integer.toString(found.snapshots()));
    if (!verdict.features().isEmpty()) {
      line(text, "features", String.join(" ", verdict.features()));
      line(text, "L1 table", verdict.l1Bytes() + " bytes, at most " + Verdict.MAX_L1_BYTES);
    }
    line(text, "verdict", verdict.accepted() ? "accepted" : "refused");
    for (String reason : verdict.reasons()) {
      line(text, "reason", reason);
    }
    return text.toString();
  }

  private static String yes(boolean value) {
    return value ? "yes" : "no";
  }

  private static void line(StringBuilder text, String key, String value) {
    text.append(key).append(": ").append(Verdict.printable(value)).append('\n');
  }

  private static String json(Inspection found, Verdict verdict, List<String> looksLike) {
    Dict dict =
        new Dict()
            .put("filename", found.name())
            .put("format", found.format())
            .put("matching-formats", List.copyOf(found.matching()))
            .put("virtual-size", found.virtualSize())
            .put("file-length", found.fileLength())
            .put("encrypted", found.encrypted())
            .put("dirty-flag", found.dirty())
            .put("corrupt", found.corrupt())
            .put("snapshots", found.snapshots());
    Qcow2Info qcow2 = found.qcow2();
    dict.put("looks-like", List.copyOf(looksLike))
        .put("features", List.copyOf(verdict.features()))
        .put(
            "limits",
            new Dict()
                .put("l1-table", limit(verdict.l1Bytes(), Verdict.MAX_L1_BYTES))
                .put("snapshots", limit(found.snapshots(), Verdict.MAX_SNAPSHOTS))
                .put(
                    "bitmaps",
                    limit(qcow2 == null ? 0 : qcow2.bitmaps().size(), Verdict.MAX_BITMAPS)))
        .put("verdict", verdict.accepted() ? "accepted" : "refused")
        .put("reasons", List.copyOf(verdict.reasons()));
    putIfSet(dict, "backing-filename", found.backingFile());
    putIfSet(dict, "backing-filename-format", found.backingFormat());
    putIfSet(dict, "data-file", found.dataFile());
    if (found.allocatedBytes() >= 0) {
      dict.put("actual-size", found.allocatedBytes());
    }
    StringBuilder text = new StringBuilder();
    Json.append(text, dict);
    return text.append('\n').toString();
  }

  private static Dict limit(long is, long most) {
    return new Dict().put("is", is).put("at-most", most);
  }

  private static void putIfSet(Dict dict, String key, @Nullable String value) {
    if (value != null) {
      dict.put(key, value);
    }
  }
}
