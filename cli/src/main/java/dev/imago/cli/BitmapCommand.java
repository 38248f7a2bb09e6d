package dev.imago.cli;

import dev.imago.image.Image;
import dev.imago.image.ImageException;
import dev.imago.qcow2.Bitmaps;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code bitmap}: makes, changes and removes the dirty bitmaps that an image keeps. */
final class BitmapCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.flag("add"),
    Option.flag("remove"),
    Option.flag("clear"),
    Option.flag("enable"),
    Option.flag("disable"),
    Option.value("merge"),
    new Option('b', "source-file", true),
    new Option('F', "source-format", true),
    new Option('f', "f", true),
    new Option('g', "granularity", true),
    Option.value("object"),
    Option.flag("image-opts")
  };

  /** One thing to do. */
  private record Action(String name, String source) {}

  private final Terminal terminal;
  private final List<Action> actions = new ArrayList<>();
  private @Nullable String format;
  private @Nullable String sourceFile;
  private @Nullable String sourceFormat;
  private long granularity;
  private boolean imageOpts;

  private BitmapCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    BitmapCommand command = new BitmapCommand(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "bitmap");
      }
      command.take(option, options.value());
    }
    command.requireSense();
    List<String> operands = options.operands();
    if (operands.size() != 2) {
      throw new Failure("Expecting filename and bitmap name");
    }
    command.run(Source.of(operands.get(0), command.imageOpts, command.format), operands.get(1));
    return 0;
  }

  private void take(String option, String value) throws Failure {
    switch (option) {
      case "add", "remove", "clear", "enable", "disable", "merge" ->
          actions.add(new Action(option, value));
      case "source-file" -> sourceFile = value;
      case "source-format" -> sourceFormat = value;
      case "f" -> format = value;
      case "granularity" ->
          granularity = Size.require(terminal, "granularity", value, 0, Long.MAX_VALUE);
      case "object" -> terminal.secrets().add(value);
      default -> imageOpts = true;
    }
  }

  private void requireSense() throws Failure {
    if (actions.isEmpty()) {
      throw new Failure(
          "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    }
    if (granularity != 0 && !asks("add")) {
      throw new Failure("granularity only supported with --add");
    }
    if (sourceFormat != null && sourceFile == null) {
      throw new Failure("-F only supported with -b");
    }
    if (sourceFile != null && !asks("merge")) {
      throw new Failure("Merge bitmap source file only supported with --merge");
    }
  }

  private boolean asks(String name) {
    return actions.stream().anyMatch(action -> action.name().equals(name));
  }

  private void run(Source target, String bitmap) throws Exception {
    FileName file = target.name();
    try (Image image =
            Opening.image(
                file, target.options(terminal.secrets()).writable(true).withoutBacking());
        Image source =
            sourceFile == null
                ? null
                : Opening.image(
                    FileName.of(sourceFile), Opening.options(sourceFormat).withoutBacking())) {
      if (target.format() == null && image.format().equals("raw")) {
        Opening.warnOfProbing(terminal, file);
      }
      for (Action action : actions) {
        try {
          run(action, image, source == null ? image : source, bitmap);
        } catch (ImageException e) {
          throw failed(action, bitmap, Errors.text(e));
        } catch (IllegalArgumentException e) {
          throw failed(action, bitmap, String.valueOf(e.getMessage()));
        }
      }
    }
  }

  private static Failure failed(Action action, String bitmap, String why) {
    return new Failure(
        "Operation %s on bitmap %s failed: %s".formatted(action.name(), bitmap, why));
  }

  private void run(Action action, Image image, Image source, String bitmap) throws IOException {
    if (!image.format().equals("qcow2")) {
      throw new IllegalArgumentException(
          action.name().equals("add")
              ? "Can't store persistent bitmaps to " + image.name() + ": Operation not supported"
              : "Dirty bitmap '" + bitmap + "' not found");
    }
    if (action.name().equals("merge") && !source.format().equals("qcow2")) {
      throw new IllegalArgumentException("Dirty bitmap '" + action.source() + "' not found");
    }
    Bitmaps bitmaps = Qcow2.bitmaps(image);
    switch (action.name()) {
      case "add" ->
          bitmaps.add(bitmap, granularity == 0 ? bitmaps.defaultGranularity() : granularity, true);
      case "remove" -> bitmaps.remove(bitmap);
      case "clear" -> bitmaps.clear(bitmap);
      case "enable" -> bitmaps.enable(bitmap);
      case "disable" -> bitmaps.disable(bitmap);
      default -> bitmaps.merge(bitmap, Qcow2.bitmaps(source), action.source());
    }
  }
}
