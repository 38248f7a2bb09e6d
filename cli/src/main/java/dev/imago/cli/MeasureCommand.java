package dev.imago.cli;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.Measure;
import dev.imago.Measurement;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code measure}: how much room an image would take. */
final class MeasureCommand {
  private static final String TOO_LARGE =
      "The image size is too large (try using a larger cluster size)";

  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.value('O'),
    Option.value('o'),
    Option.value('l'),
    Option.flag('U', "force-share"),
    Option.value("size"),
    Option.value("output"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private final Terminal terminal;
  private @Nullable String sourceFormat;
  private String targetFormat = "raw";
  private final StringBuilder list = new StringBuilder();
  private @Nullable String snapshot;
  private long size = -1;
  private OutputFormat output = OutputFormat.HUMAN;
  private boolean forceShare;
  private boolean imageOpts;

  private MeasureCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    MeasureCommand command = new MeasureCommand(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "measure");
      }
      command.take(option, options.value());
    }
    command.requireSense(options.operands());
    command.run(options.operands());
    return 0;
  }

  private void take(String option, String value) throws Failure {
    switch (option) {
      case "f" -> sourceFormat = value;
      case "O" -> targetFormat = value;
      case "o" -> CreateCommand.append(list, value);
      case "l" -> {
        SnapshotCommand.requireValid(value);
        snapshot = value;
      }
      case "force-share" -> forceShare = true;
      case "size" -> size = Size.require(terminal, "image size", value, 0, Long.MAX_VALUE);
      case "output" -> output = OutputFormat.of(value);
      case "object" -> terminal.secrets().add(value);
      case "image-opts" -> imageOpts = true;
      default -> throw GetOpt.notSupported(option);
    }
  }

  private void requireSense(List<String> operands) throws Failure {
    if (operands.size() > 1) {
      throw new Failure("At most one filename argument is allowed.");
    }
    if (operands.isEmpty() && (imageOpts || sourceFormat != null || snapshot != null)) {
      throw new Failure("--image-opts, -f, and -l require a filename argument.");
    }
    if (operands.isEmpty() && size < 0) {
      throw new Failure("Either --size N or one filename must be specified.");
    }
    if (!operands.isEmpty() && size >= 0) {
      throw new Failure("--size N cannot be used together with a filename.");
    }
  }

  private void run(List<String> operands) throws Exception {
    if (operands.isEmpty()) {
      print(measured(target(), null));
      return;
    }
    Source source = Source.of(operands.getFirst(), imageOpts, sourceFormat);
    OpenOptions how = source.options(terminal.secrets()).forceShare(forceShare);
    String id = null;
    try (Image image = Opening.image(source.name(), how)) {
      if (snapshot == null) {
        print(measured(target(), image));
        return;
      }
      id = SnapshotCommand.find(image, snapshot);
    }
    try (Image image = Opening.image(source.name(), how.snapshot(id))) {
      print(measured(target(), image));
    }
  }

  private Measurement measured(CreateOptions target, @Nullable Image source)
      throws IOException, Failure {
    try {
      return source == null ? Measure.of(target) : Measure.of(source, target);
    } catch (IllegalArgumentException e) {
      String text = String.valueOf(e.getMessage());
      throw new Failure(text.contains("too large") ? TOO_LARGE : text, 1, e);
    }
  }

  /**
   * What the image would look like. As qemu-img does, only what decides about its size is looked
   * at, and told in words that are a little different from those of {@code create}.
   */
  private CreateOptions target() throws Failure {
    if (!Images.formats().contains(targetFormat)) {
      throw new Failure(
          CreateParameters.isFormat(targetFormat)
              ? "Block driver '" + targetFormat + "' does not support size measurement"
              : "Unknown file format '" + targetFormat + "'");
    }
    CreateParameters parameters = new CreateParameters(terminal, targetFormat);
    try {
      parameters.set(list.toString());
    } catch (Failure e) {
      throw new Failure(
          "%s\n%s: Invalid options for file format '%s'"
              .formatted(e.getMessage(), terminal.program(), targetFormat),
          1,
          e);
    }
    return parameters.toMeasured(Math.max(0, size));
  }

  private void print(Measurement measurement) {
    if (output == OutputFormat.JSON) {
      Dict dict = new Dict();
      measurement.bitmaps().ifPresent(bytes -> dict.put("bitmaps", bytes));
      dict.put("required", measurement.required());
      dict.put("fully-allocated", measurement.fullyAllocated());
      StringBuilder text = new StringBuilder();
      Json.append(text, dict);
      terminal.line(text.toString());
      return;
    }
    terminal.line("required size: " + measurement.required());
    terminal.line("fully allocated size: " + measurement.fullyAllocated());
    measurement.bitmaps().ifPresent(bytes -> terminal.line("bitmaps size: " + bytes));
  }
}
