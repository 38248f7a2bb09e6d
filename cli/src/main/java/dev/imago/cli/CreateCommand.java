package dev.imago.cli;

import dev.imago.Images;
import dev.imago.image.Image;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** {@code create}: makes an empty image. */
final class CreateCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    new Option('f', "format", true),
    new Option('o', "options", true),
    new Option('b', "backing", true),
    new Option('F', "backing-format", true),
    new Option('B', "backing-format", true),
    Option.flag('u', "backing-unsafe"),
    Option.flag('q', "quiet"),
    Option.value("object")
  };

  private static final String COULD_NOT_OPEN = "\nCould not open backing image.";

  private CreateCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = "raw";
    StringBuilder list = new StringBuilder();
    String backing = null;
    String backingFormat = null;
    boolean unsafe = false;
    boolean quiet = false;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "create");
        }
        case "format" -> format = options.value();
        case "options" -> append(list, options.value());
        case "backing" -> backing = options.value();
        case "backing-format" -> backingFormat = options.value();
        case "backing-unsafe" -> unsafe = true;
        case "quiet" -> quiet = true;
        case "object" -> terminal.secrets().add(options.value());
        default -> throw GetOpt.notSupported(option);
      }
    }
    if (OptionList.asksForHelp(list.toString())) {
      requireFormat(format);
      terminal.print(FormatOption.describe(format, !options.operands().isEmpty()));
      return 0;
    }
    List<String> operands = options.operands();
    if (operands.isEmpty()) {
      throw new UsageException("Expecting image file name");
    }
    String size = null;
    if (operands.size() > 1) {
      size =
          Long.toString(Size.require(terminal, "image size", operands.get(1), 0, Long.MAX_VALUE));
    }
    if (operands.size() > 2) {
      throw new UsageException("Unexpected argument: " + operands.get(2));
    }
    FileName name = target(operands.getFirst());
    try {
      CreateParameters parameters =
          parameters(terminal, format, list.toString(), backing, backingFormat);
      create(terminal, name, parameters, size, unsafe, quiet);
    } catch (Failure e) {
      throw new Failure(name.typed() + ": " + e.getMessage(), 1, e);
    }
    return 0;
  }

  /** Adds a list given with {@code -o} to those before it. */
  static void append(StringBuilder list, String more) throws Failure {
    OptionList.requireValid(more);
    list.append(list.isEmpty() ? "" : ",").append(more);
  }

  static void requireFormat(String format) throws Failure {
    if (!Images.formats().contains(format)) {
      throw new Failure("Unknown file format '" + format + "'");
    }
  }

  /** What is to hold a new image: a file, or an NBD export that is there. */
  static FileName target(String operand) throws Failure {
    return Exports.isOne(operand) && !Safety.on()
        ? Source.named(operand, null).name()
        : FileName.of(operand);
  }

  private static CreateParameters parameters(
      Terminal terminal,
      String format,
      String list,
      @Nullable String backing,
      @Nullable String backingFormat)
      throws Failure {
    requireFormat(format);
    CreateParameters parameters = new CreateParameters(terminal, format);
    parameters.set(list);
    parameters.setBacking(backing, backingFormat);
    return parameters;
  }

  private static void create(
      Terminal terminal,
      FileName name,
      CreateParameters parameters,
      @Nullable String size,
      boolean unsafe,
      boolean quiet)
      throws Failure {
    name.requireLocal();
    if (size != null && parameters.has("size")) {
      throw new Failure("The image size must be specified only once");
    }
    if (size != null) {
      parameters.set("size", size);
    }
    String backing = parameters.get("backing_file");
    if (backing != null) {
      long backingSize = backing(name, backing, parameters, unsafe);
      if (!parameters.has("size") && !unsafe) {
        parameters.set("size", Long.toString(backingSize));
      }
    }
    if (!parameters.has("size")) {
      throw new Failure("Image creation needs a size parameter");
    }
    if (!quiet) {
      terminal.line(parameters.describe(name.typed()));
    }
    parameters.create(name, List.of());
  }

  /** Looks at the backing image, unless that is not wanted. */
  static long backing(FileName name, String backing, CreateParameters parameters, boolean unsafe)
      throws Failure {
    if (backing.isEmpty()) {
      throw new Failure("Expected backing file name, got empty string");
    }
    if (backing.equals(name.typed())) {
      throw new Failure(
          "Error: Trying to create an image with the same filename as the backing file");
    }
    try {
      // Where strangers' images are held off no export is named, and so nothing that is in one.
      if (name.nodes() == null) {
        Safety.vetBacking(name.newPath(), backing, parameters.get("backing_fmt"), !unsafe);
      }
    } catch (Failure e) {
      throw new Failure(e.getMessage() + COULD_NOT_OPEN, 1, e);
    }
    if (unsafe) {
      if (!parameters.has("backing_fmt")) {
        throw new Failure("Backing file specified without backing format");
      }
      return -1;
    }
    String format = parameters.get("backing_fmt");
    if (Exports.isOne(backing) && !Safety.on()) {
      return exported(backing, format);
    }
    FileName typed = FileName.of(backing);
    try {
      typed.requireLocal();
    } catch (Failure e) {
      throw new Failure(e.getMessage() + COULD_NOT_OPEN, 1, e);
    }
    Path path =
        name.nodes() != null ? typed.path() : Images.resolveName(name.newPath(), typed.literal());
    // Its size is all that is wanted: somebody may be writing to it.
    try (Image image = Images.open(path, Opening.options(format).forceShare(true).withoutKey())) {
      return size(image, format);
    } catch (IOException e) {
      FileName file = new FileName(path.toString(), path.toString());
      throw new Failure(Errors.whyNotOpen(file, e) + COULD_NOT_OPEN, 1, e);
    }
  }

  /** As {@link #backing}, for one that an NBD server has. */
  private static long exported(String backing, @Nullable String format) throws Failure {
    try (Image image = open(Source.named(backing, format).name())) {
      return size(image, format);
    } catch (IOException e) {
      throw new Failure(Errors.text(e), 1, e);
    }
  }

  private static Image open(FileName name) throws Failure {
    BlockOptions nodes = Objects.requireNonNull(name.nodes());
    try {
      return new BlockNodes(Opening.options(null).withoutKey(), said -> {}).image(nodes.copy());
    } catch (IOException e) {
      throw new Failure(Errors.whyNotOpen(name, e) + COULD_NOT_OPEN, 1, e);
    } catch (Failure e) {
      throw new Failure(e.getMessage() + COULD_NOT_OPEN, 1, e);
    }
  }

  private static long size(Image image, @Nullable String format) throws Failure {
    if (format == null) {
      throw new Failure(
          "Backing file specified without backing format\nDetected format of "
              + image.format()
              + ".");
    }
    return image.size();
  }
}
