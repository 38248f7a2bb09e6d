package dev.imago.cli;

import dev.imago.CheckUnsupportedException;
import dev.imago.ImageOpener;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.file.Path;
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

  /** Something that is done to an image where it is kept. */
  interface Look<T> {
    /**
     * Does it.
     *
     * @param format null to probe
     */
    T at(Storage storage, @Nullable String format) throws IOException;
  }

  /** Does something to an image without opening it, whether it is a file or made up by drivers. */
  static <T> T attempt(
      Source source, Terminal terminal, boolean writable, boolean forceShare, Look<T> look)
      throws Failure {
    FileName name = source.name();
    BlockOptions nodes = name.nodes();
    if (nodes == null) {
      var how = new FileStorage.Options(writable, false, !forceShare, true);
      return attempt(
          name,
          1,
          path -> {
            try (Storage storage = FileStorage.open(path, how)) {
              return look.at(storage, source.format());
            }
          });
    }
    OpenOptions how = source.options(terminal.secrets()).writable(writable).forceShare(forceShare);
    try {
      if (BlockNodes.isFiltered(nodes)) {
        NodeLook.at(name, nodes, how); // for what it refuses
        throw new CheckUnsupportedException(name.typed(), "of filters");
      }
      try (BlockNodes.Place place = new BlockNodes(how, said -> {}).place(nodes.copy())) {
        return look.at(place.storage(), place.imageFormat());
      }
    } catch (IOException e) {
      throw Errors.opening(name, e, 1);
    } catch (Failure e) {
      throw new Failure("Could not open '" + name.typed() + "': " + e.getMessage(), 1, e);
    }
  }

  /** Opens an image as often as is wanted. */
  static ImageOpener opener(FileName name) throws Failure {
    BlockOptions nodes = name.nodes();
    if (nodes == null) {
      Path path = name.path();
      return how -> Images.open(path, how);
    }
    return how -> {
      try {
        return new BlockNodes(how, said -> {}).image(nodes.copy());
      } catch (Failure e) {
        throw new IOException(e.getMessage(), e);
      }
    };
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
