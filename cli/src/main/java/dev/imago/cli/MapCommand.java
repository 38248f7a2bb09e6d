package dev.imago.cli;

import dev.imago.image.Image;
import org.jspecify.annotations.Nullable;

/** {@code map}: where each run of an image's bytes comes from. */
final class MapCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.flag('U', "force-share"),
    Option.value("output"),
    new Option('s', "start-offset", true),
    new Option('l', "max-length", true),
    Option.value("object"),
    Option.flag("image-opts"),
    Option.flag("visual")
  };

  private MapCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    String output = "human";
    boolean forceShare = false;
    boolean imageOpts = false;
    boolean visual = false;
    long start = 0;
    long length = -1;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "map");
        }
        case "f" -> format = options.value();
        case "force-share" -> forceShare = true;
        case "output" -> output = options.value();
        case "start-offset" -> start = size(terminal, "start offset", options.value());
        case "max-length" -> length = size(terminal, "max length", options.value());
        case "object" -> terminal.secrets().add(options.value());
        case "image-opts" -> imageOpts = true;
        case "visual" -> visual = true;
        default -> throw GetOpt.notSupported(option);
      }
    }
    Source source = options.onlySource(imageOpts, format);
    if (visual && (start != 0 || length >= 0 || !output.equals("human"))) {
      throw new Failure(
          "--visual draws the whole disk: it excludes --output=json, --start-offset, --max-length");
    }
    MapPrinter printer =
        OutputFormat.of(output) == OutputFormat.JSON
            ? new MapPrinter.Json(terminal)
            : new MapPrinter.Human(terminal);
    try (Image image =
        Opening.image(
            source.name(),
            source.options(terminal.secrets()).forceShare(forceShare).withoutKey())) {
      if (visual) {
        new MapPicture(terminal, image, coloured(terminal)).draw();
        return 0;
      }
      printer.begin();
      walk(image, start, length, printer);
    }
    return 0;
  }

  /** Colours are for terminals whose owner has not said otherwise: https://no-color.org. */
  private static boolean coloured(Terminal terminal) {
    String no = System.getenv("NO_COLOR");
    return terminal.columns() > 0
        && (no == null || no.isEmpty())
        && !"dumb".equals(System.getenv("TERM"));
  }

  private static long size(Terminal terminal, String noun, String text) throws Failure {
    return Size.require(terminal, noun, text, 0, Long.MAX_VALUE);
  }

  private static void walk(Image image, long start, long length, MapPrinter printer)
      throws Exception {
    long end = length < 0 ? image.size() : Math.min(image.size(), start + length);
    if (length >= 0 && start + length < 0) {
      end = image.size();
    }
    var source = new MapSource(image);
    @Nullable MapEntry pending = null;
    for (long at = start; at < end; ) {
      MapEntry entry = source.at(at, end - at);
      at += entry.length();
      if (pending == null) {
        pending = entry;
      } else if (pending.goesOnAs(entry)) {
        pending = pending.with(entry.length());
      } else {
        printer.print(pending);
        pending = entry;
      }
    }
    printer.end(pending != null ? pending : MapEntry.nothing(start));
  }
}
