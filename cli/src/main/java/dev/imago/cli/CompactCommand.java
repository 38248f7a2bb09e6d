package dev.imago.cli;

import dev.imago.Compact;
import dev.imago.image.CompactResult;
import dev.imago.image.Image;

/** {@code compact}: makes an image's file shorter, without a second copy of it. */
final class CompactCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.flag('p'),
    Option.flag('q'),
    Option.value("progress"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private CompactCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    boolean quiet = false;
    boolean imageOpts = false;
    ProgressOutput.Style style = ProgressOutput.Style.NONE;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "compact");
        }
        case "f" -> format = options.value();
        case "p" -> style = ProgressOutput.Style.HUMAN;
        case "progress" -> style = ProgressOutput.style(options.value());
        case "q" -> quiet = true;
        case "object" -> terminal.secrets().add(options.value());
        default -> imageOpts = true;
      }
    }
    Source source = options.onlySource(imageOpts, format);
    CompactResult result;
    var progress =
        new ProgressOutput(terminal, "compact", quiet ? ProgressOutput.Style.NONE : style, 1);
    boolean done = false;
    try (Image image =
        Opening.image(source.name(), source.options(terminal.secrets()).writable(true))) {
      if (!Compact.supported(image)) {
        throw new Failure("Images of format '" + image.format() + "' cannot be compacted");
      }
      progress.begin();
      result = Compact.run(image, progress);
      progress.end();
      done = true;
    } finally {
      if (!done) {
        progress.stop();
      }
    }
    if (!quiet) {
      tell(terminal, result);
    }
    return 0;
  }

  private static void tell(Terminal terminal, CompactResult result) {
    StringBuilder text = new StringBuilder();
    text.append("Image compacted: ");
    HumanSize.append(text, result.sizeBefore() - result.sizeAfter());
    text.append(" saved, the file has ").append(result.sizeAfter()).append(" bytes.\n");
    for (String reason : result.leftInPlace()) {
      text.append("Left in place: ").append(reason).append(".\n");
    }
    terminal.print(text);
  }
}
