package dev.imago.cli;

import dev.imago.Convert;
import dev.imago.ConvertException;
import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.image.Image;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code dd}: copies a part of a disk into a new image. */
final class DdCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.value('O'),
    Option.flag('U', "force-share"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private final Terminal terminal;
  private @Nullable String sourceFormat;
  private String targetFormat = "raw";
  private boolean forceShare;
  private boolean imageOpts;
  private @Nullable String input;
  private @Nullable String output;
  private long blockSize = 512;
  private long count = -1;
  private long skip;

  private DdCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    DdCommand command = new DdCommand(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "dd");
      }
      command.take(option, options.value());
    }
    for (String operand : options.operands()) {
      command.takeOperand(operand);
    }
    command.run();
    return 0;
  }

  private void take(String option, String value) throws Failure {
    switch (option) {
      case "f" -> sourceFormat = value;
      case "O" -> targetFormat = value;
      case "force-share" -> forceShare = true;
      case "object" -> terminal.secrets().add(value);
      case "image-opts" -> imageOpts = true;
      default -> throw GetOpt.notSupported(option);
    }
  }

  private void takeOperand(String operand) throws Failure {
    int equals = operand.indexOf('=');
    String name = equals < 0 ? operand : operand.substring(0, equals);
    String value = operand.substring(equals + 1);
    switch (equals < 0 ? "" : name) {
      case "bs" -> blockSize = Size.require(terminal, name, value, 1, Integer.MAX_VALUE);
      case "count" -> count = Size.require(terminal, name, value, 0, Long.MAX_VALUE);
      case "skip" -> skip = Size.require(terminal, name, value, 0, Long.MAX_VALUE);
      case "if" -> input = value;
      case "of" -> output = value;
      default -> throw new Failure("unrecognized operand " + name);
    }
  }

  private void run() throws Exception {
    String from = input;
    String to = output;
    if (from == null || to == null) {
      throw new Failure("Must specify both input and output files");
    }
    Source source = Source.of(from, imageOpts, sourceFormat);
    try (Image image =
        Opening.image(source.name(), source.options(terminal.secrets()).forceShare(forceShare))) {
      if (!Images.formats().contains(targetFormat)) {
        throw new Failure("Unknown file format");
      }
      FileName target =
          Exports.isOne(to) && !Safety.on()
              ? Source.named(to, targetFormat).name()
              : FileName.of(to);
      target.requireLocal();
      copy(image, source.name(), target);
    }
  }

  private void copy(Image image, FileName source, FileName target) throws Exception {
    // The count is one of blocks from the disk's beginning: those that are skipped count, too.
    long end = count < 0 ? image.size() : Math.min(image.size(), product(count));
    long start = product(skip);
    if (start > end) {
      terminal.error(source.typed() + ": cannot skip to specified offset");
      start = end;
    }
    CreateParameters parameters = new CreateParameters(terminal, targetFormat);
    // There is no -p; but SIGUSR1 asks, and a signal that ends the copy removes it.
    var progress = new ProgressOutput(terminal, "dd", ProgressOutput.Style.NONE, 1);
    try {
      Convert convert =
          Convert.from(image)
              .range(start, end - start)
              .sparseSize(0)
              .sync(CacheMode.WRITEBACK.sync())
              .progress(progress);
      if (target.nodes() != null) {
        parameters.set("size", Long.toString(end - start));
        parameters.create(target, List.of(image));
        progress.begin();
        try (Image made = Opening.image(target, Opening.options(null).writable(true))) {
          convert.to(made);
        }
        return;
      }
      Path path = target.newPath();
      CreateOptions options = parameters.toLibrary(path);
      progress.begin();
      progress.making(Files.exists(path, LinkOption.NOFOLLOW_LINKS) ? null : path);
      convert.to(path, options);
      progress.made();
    } catch (ConvertException e) {
      throw new Failure(
          "error while "
              + (e.writing() ? "writing to output" : "reading from input")
              + " image file: "
              + Errors.cause(e),
          1,
          e);
    } catch (IOException e) {
      throw whileCreating(target, parameters.notCreated(target, e));
    } catch (IllegalArgumentException e) {
      throw whileCreating(target, new Failure(String.valueOf(e.getMessage()), 1, e));
    } catch (Failure e) {
      throw whileCreating(target, e);
    }
  }

  private static Failure whileCreating(FileName target, Failure failure) {
    return new Failure(
        target.typed() + ": error while creating output image: " + failure.getMessage(),
        1,
        failure);
  }

  /** So many blocks in bytes, or a number that is longer than any disk. */
  private long product(long blocks) {
    return blocks > Long.MAX_VALUE / blockSize ? Long.MAX_VALUE : blocks * blockSize;
  }
}
