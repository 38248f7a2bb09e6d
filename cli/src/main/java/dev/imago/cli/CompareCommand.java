package dev.imago.cli;

import dev.imago.Compare;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import java.util.List;

/** {@code compare}: whether guests see the same in two images. */
final class CompareCommand {
  /** Exit code if an image cannot be opened. */
  private static final int NOT_OPEN = 2;

  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.value('F'),
    Option.value('T'),
    Option.flag('p'),
    Option.flag('q'),
    Option.flag('s'),
    Option.flag('U', "force-share"),
    Option.value("progress"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private CompareCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format1 = null;
    String format2 = null;
    String cache = "writeback";
    boolean quiet = false;
    boolean strict = false;
    boolean forceShare = false;
    boolean imageOpts = false;
    ProgressOutput.Style style = ProgressOutput.Style.NONE;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "compare");
        }
        case "f" -> format1 = options.value();
        case "F" -> format2 = options.value();
        case "T" -> cache = options.value();
        case "p" -> style = ProgressOutput.Style.HUMAN;
        case "q" -> quiet = true;
        case "s" -> strict = true;
        case "force-share" -> forceShare = true;
        case "progress" -> style = ProgressOutput.style(options.value());
        case "object" -> terminal.secrets().add(options.value());
        case "image-opts" -> imageOpts = true;
        default -> throw GetOpt.notSupported(option);
      }
    }
    List<String> names = options.operands();
    if (names.size() != 2) {
      throw new UsageException("Expecting two image file names");
    }
    var progress =
        new ProgressOutput(terminal, "compare", quiet ? ProgressOutput.Style.NONE : style, 2);
    try {
      CacheMode mode = CacheMode.of(cache);
      if (mode == null) {
        throw new Failure("Invalid source cache option: " + cache, NOT_OPEN);
      }
      Source source1 = Source.of(names.get(0), imageOpts, format1);
      Source source2 = Source.of(names.get(1), imageOpts, format2);
      try (Image first = open(terminal, source1, mode, forceShare);
          Image second = open(terminal, source2, mode, forceShare)) {
        progress.begin();
        Compare.Result result = Compare.compare(first, second, strict, progress);
        progress.giveWay();
        if (!quiet) {
          terminal.print(describe(result, strict, Math.min(first.size(), second.size())));
        }
        return result.verdict() == Compare.Verdict.IDENTICAL ? 0 : 1;
      }
    } finally {
      progress.stop();
    }
  }

  private static Image open(Terminal terminal, Source source, CacheMode mode, boolean forceShare)
      throws Failure {
    OpenOptions options =
        source
            .options(terminal.secrets())
            .direct(mode.direct())
            .sync(mode.sync())
            .forceShare(forceShare);
    return Opening.image(source.name(), options, NOT_OPEN);
  }

  /**
   * The answer in QEMU's words.
   *
   * @param common how many bytes both have; QEMU finds out that one has more when it gets there
   */
  static String describe(Compare.Result result, boolean strict, long common) {
    boolean gotThere = result.offset() < 0 || result.offset() >= common;
    String warning =
        result.sizesDiffer() && gotThere && !strict ? "Warning: Image size mismatch!\n" : "";
    return warning
        + switch (result.verdict()) {
          case IDENTICAL -> "Images are identical.\n";
          case CONTENT_MISMATCH -> "Content mismatch at offset " + result.offset() + "!\n";
          case SIZE_MISMATCH -> "Strict mode: Image size mismatch!\n";
          case STATUS_MISMATCH ->
              "Strict mode: Offset " + result.offset() + " block status mismatch!\n";
        };
  }
}
