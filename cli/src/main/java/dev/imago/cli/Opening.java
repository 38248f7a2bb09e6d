package dev.imago.cli;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Opens what was named on the command line. Failures read {@code Could not open 'F': …}. */
final class Opening {
  private Opening() {}

  /** Something that opens a file. */
  interface Attempt<T> {
    T open(Path path) throws IOException;
  }

  /**
   * How an image is opened here: what it names inside itself is opened wherever it is, as qemu-img
   * does, unless {@link Safety} is asked for. Its format is {@code format}, or probed if that is
   * null.
   */
  static OpenOptions options(@Nullable String format) {
    return Safety.options().format(format);
  }

  static Image image(FileName name, OpenOptions options) throws Failure {
    return image(name, options, 1);
  }

  /** Opens an image, or ends the command with {@code exitCode}. */
  static Image image(FileName name, OpenOptions options, int exitCode) throws Failure {
    BlockOptions nodes = name.nodes();
    if (nodes != null) {
      return nodes(name, nodes, options, exitCode);
    }
    requireKnown(name, options.format(), exitCode);
    return attempt(name, exitCode, path -> Images.open(path, options));
  }

  private static Image nodes(FileName name, BlockOptions nodes, OpenOptions options, int exitCode)
      throws Failure {
    try {
      return new BlockNodes(options, said -> {}).image(nodes.copy());
    } catch (IOException e) {
      throw Errors.opening(name, e, exitCode);
    } catch (Failure e) {
      throw new Failure("Could not open '" + name.typed() + "': " + e.getMessage(), exitCode, e);
    }
  }

  /** Something that is done with an export. */
  interface Work<T> {
    T with(BlockNodes.Export export) throws IOException, Failure;
  }

  /**
   * Does something with the NBD export that was named, and closes it; or ends the command with
   * {@code exitCode}.
   *
   * @param name one of block drivers, not of a file
   */
  static <T> T export(FileName name, OpenOptions options, int exitCode, Work<T> work)
      throws Failure {
    BlockOptions nodes = Objects.requireNonNull(name.nodes());
    try {
      BlockNodes.Export found = new BlockNodes(options, said -> {}).export(nodes.copy());
      if (found == null) {
        throw new Failure("This command opens files and NBD exports, and no other block drivers");
      }
      try (Storage _ = found.storage()) {
        return work.with(found);
      }
    } catch (IOException e) {
      throw Errors.opening(name, e, exitCode);
    } catch (Failure e) {
      throw new Failure("Could not open '" + name.typed() + "': " + e.getMessage(), exitCode, e);
    }
  }

  /**
   * Refuses a format that is not known, and what {@code --safe} refuses, before anything is opened.
   *
   * @param format null to probe
   */
  static void requireKnown(FileName name, @Nullable String format, int exitCode) throws Failure {
    if (format != null && !Images.formats().contains(format)) {
      throw new Failure(
          "Could not open '" + name.typed() + "': Unknown driver '" + format + "'", exitCode);
    }
    Safety.vet(name, format, exitCode);
  }

  /** Refuses to write to an image without its locks. */
  static void requireLocks(FileName name, boolean writable, boolean forceShare) throws Failure {
    if (writable && forceShare) {
      throw new Failure(
          "Could not open '"
              + name.typed()
              + "': force-share=on can only be used with read-only images");
    }
  }

  /** Opens something, or ends the command with {@code exitCode}. */
  static <T> T attempt(FileName name, int exitCode, Attempt<T> attempt) throws Failure {
    try {
      return attempt.open(name.path());
    } catch (IOException e) {
      throw Errors.opening(name, e, exitCode);
    } catch (Failure e) {
      throw new Failure("Could not open '" + name.typed() + "': " + e.getMessage(), exitCode, e);
    }
  }

  /** Says that a writable image was taken for a raw one because it looks like nothing else. */
  static void warnOfProbing(Terminal terminal, FileName name) {
    terminal.note(
        "WARNING: Image format was not specified for '"
            + name.typed()
            + "' and probing guessed raw.\n"
            + "         Automatically detecting the format is dangerous for raw images, write"
            + " operations on block 0 will be restricted.\n"
            + "         Specify the 'raw' format explicitly to remove the restrictions.");
  }
}
