package dev.imago.cli;

import dev.imago.image.Image;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.util.List;

/** {@code resize}: makes an image's disk longer or shorter. */
final class ResizeCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.flag('q'),
    Option.value("preallocation"),
    Option.flag("shrink"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private ResizeCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    for (String arg : args) {
      if (arg.equals("-h") || arg.equals("--help")) {
        return Help.command(terminal, "resize");
      }
    }
    // The size stands last and may begin with a minus sign: it is taken off before options are
    // read.
    if (args.length < 2) {
      throw new UsageException("Not enough arguments");
    }
    String text = args[args.length - 1];
    String[] others = List.of(args).subList(0, args.length - 1).toArray(new String[0]);
    GetOpt options = new GetOpt(others, 0, true, OPTIONS);
    String format = null;
    String preallocation = "off";
    boolean quiet = false;
    boolean shrink = false;
    boolean imageOpts = false;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "f" -> format = options.value();
        case "q" -> quiet = true;
        case "preallocation" -> preallocation = known(options.value());
        case "shrink" -> shrink = true;
        case "object" -> terminal.secrets().add(options.value());
        case "image-opts" -> imageOpts = true;
        default -> throw GetOpt.notSupported(option);
      }
    }
    if (options.operands().size() != 1) {
      throw new UsageException("Expecting image file name and size");
    }
    Source source = Source.of(options.operands().getFirst(), imageOpts, format);
    char sign = text.isEmpty() ? 0 : text.charAt(0);
    boolean relative = sign == '+' || sign == '-';
    long given = Size.requireParameter(terminal, "size", relative ? text.substring(1) : text);
    try (Image image =
        Opening.image(source.name(), source.options(terminal.secrets()).writable(true))) {
      if (source.format() == null && image.format().equals("raw")) {
        Opening.warnOfProbing(terminal, source.name());
      }
      long size = relative ? image.size() + (sign == '+' ? given : -given) : given;
      if (given < 0 || size <= 0) {
        throw new Failure("New image size must be positive");
      }
      if (image.format().equals("raw") && size != image.size() && Exports.isOne(image.name())) {
        throw new Failure("Cannot resize NBD nodes");
      }
      resize(terminal, image, size, preallocation, shrink);
    }
    if (!quiet) {
      terminal.line("Image resized.");
    }
    return 0;
  }

  private static String known(String word) throws Failure {
    return switch (word) {
      case "off", "metadata", "falloc", "full" -> word;
      default -> throw new Failure("Invalid preallocation mode '" + word + "'");
    };
  }

  private static void resize(
      Terminal terminal, Image image, long size, String preallocation, boolean shrink)
      throws Failure, IOException {
    if (size <= image.size() && !preallocation.equals("off")) {
      throw new Failure("Preallocation can only be used for growing images");
    }
    if (size < image.size() && !shrink) {
      throw new Failure(
          "Use the --shrink option to perform a shrink operation.\n"
              + terminal.program()
              + ": warning: Shrinking an image will delete all data beyond the shrunken image's"
              + " end. Before performing such an operation, make sure there is no important data"
              + " there.");
    }
    if (!image.format().equals("raw") && size % 512 != 0) {
      throw new Failure("The new size must be a multiple of 512");
    }
    try {
      switch (preallocation) {
        case "off" -> image.resize(size, Preallocation.OFF, shrink);
        case "falloc" -> image.resize(size, Preallocation.FALLOC, false);
        case "full" -> image.resize(size, Preallocation.FULL, false);
        default -> {
          if (image.format().equals("raw")) {
            throw new Failure("Unsupported preallocation mode: " + preallocation);
          }
          image.growMapped(size);
        }
      }
    } catch (UnsupportedFeatureException e) {
      if (e.field().equals("nb_snapshots")) {
        throw new Failure(e.problem(), 1, e);
      }
      throw e;
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e); // longer than the format can say
    } catch (FileSystemException e) {
      throw new Failure("Could not resize file: " + Errors.text(e), 1, e);
    }
  }
}
