package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.ImageException;
import dev.imago.image.ImageFormatException;
import dev.imago.image.NameResolver;
import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.References;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * One image of a chain that is being opened, and the way from it to what it names. Knows the images
 * above it, and so a chain that comes back to itself or does not end.
 */
final class Chain implements ReferenceOpener {
  private static final String BACKING = "backing file name";
  private static final String FORMAT = "backing file format";
  private static final String DATA = "data file name";

  private final OpenOptions options;
  private final Storage storage;
  private final @Nullable Path path;
  private final int depth;
  private final @Nullable Chain above;
  private boolean backingTaken;
  private boolean dataFileTaken;

  private Chain(
      OpenOptions options, Storage storage, @Nullable Path path, int depth, @Nullable Chain above) {
    this.options = options;
    this.storage = storage;
    this.path = path;
    this.depth = depth;
    this.above = above;
  }

  /**
   * The image that the caller opens.
   *
   * @param path where it is, or null if it is not in a file: then it has no folder
   */
  static Chain top(OpenOptions options, Storage storage, @Nullable Path path) {
    return new Chain(options, storage, path, 1, null);
  }

  /** Where this image's bytes are. */
  Storage storage() {
    return storage;
  }

  @Override
  public Image openBacking(String name, @Nullable String format) throws IOException {
    try {
      return openWhole(name, format);
    } catch (ImageFormatException e) {
      if (options.isRescue()) {
        return new LostImage(name, e);
      }
      throw e;
    } catch (ReferenceFailedException e) {
      if (options.isRescue() && e.getCause() instanceof NoSuchFileException) {
        String why = "%s: its backing file '%s' is not there".formatted(e.image(), e.reference());
        return new LostImage(name, new IOException(why, e));
      }
      throw e;
    }
  }

  private Image openWhole(String name, @Nullable String format) throws IOException {
    Image given = options.backing();
    if (given != null) {
      backingTaken = true;
      return given;
    }
    Chain below = below(name);
    try {
      return below.open(name, format);
    } catch (ImageException | ReferenceFailedException e) {
      throw e;
    } catch (IOException e) {
      throw new ReferenceFailedException(storage.name(), false, below.storage.name(), e);
    }
  }

  @Override
  public Storage openDataFile(String name, boolean writable) throws IOException {
    Storage given = options.dataFile();
    if (given != null) {
      dataFileTaken = true;
      return given;
    }
    return openFile(DATA, name, writable);
  }

  /** Whether the image asked for everything that its caller gave it. */
  boolean allTaken() {
    return (options.backing() == null || backingTaken)
        && (options.dataFile() == null || dataFileTaken);
  }

  /** The backing image's link of the chain: its file is open and unread. */
  Chain below(String name) throws IOException {
    var protocol = Names.protocol(name);
    NameResolver resolver = resolver(name);
    if (protocol.isPresent() && resolver == null) {
      throw new UnsupportedFeatureException(
          storage.name(),
          -1,
          BACKING,
          "'%s' is reached by the protocol '%s'; only files are opened"
              .formatted(name, protocol.get()),
          "if it is a file, its name must be written './%s'".formatted(name));
    }
    if (depth >= References.MAX_DEPTH) {
      throw denied(
          BACKING,
          "'%s' would be image %d of the chain, %d are allowed"
              .formatted(name, depth + 1, References.MAX_DEPTH));
    }
    boolean writable = depth + 1 == options.writableDepth();
    OpenOptions how = options.forBackingImage().writable(writable);
    if (resolver != null) {
      return new Chain(how, openElsewhere(resolver, name, writable), null, depth + 1, this);
    }
    FileStorage file = openFile(BACKING, name, writable);
    return new Chain(how, file, resolve(BACKING, name), depth + 1, this);
  }

  /** What opens a name that is no file's; null for a file's, and where that is not allowed. */
  private @Nullable NameResolver resolver(String name) {
    NameResolver resolver = options.resolver();
    boolean asked =
        resolver != null
            && options.references() instanceof References.Anywhere
            && Names.protocol(name).isPresent()
            && resolver.knows(name);
    return asked ? resolver : null;
  }

  private Storage openElsewhere(NameResolver resolver, String name, boolean writable)
      throws IOException {
    Storage opened;
    try {
      opened = resolver.open(name, writable);
    } catch (IOException e) {
      throw new ReferenceFailedException(storage.name(), false, name, e);
    }
    for (Chain link = this; link != null; link = link.above) {
      if (link.storage.name().equals(opened.name())) {
        opened.close();
        throw loop(BACKING, name, link);
      }
    }
    return opened;
  }

  /** Opens this backing image; closes its file if that fails. */
  private Image open(String name, @Nullable String format) throws IOException {
    try {
      boolean probed = format == null;
      String known = format == null ? Formats.probe(storage) : format;
      if (probed && known.equals(Formats.RAW)) {
        refuseProbedRaw(name);
      }
      return Formats.open(storage, known, probed, options, this);
    } catch (UnknownFormatException e) {
      throw new UnsupportedFeatureException(
          above().storage.name(), -1, FORMAT, "there is no '%s' here".formatted(e.format()));
    } catch (IOException | RuntimeException e) {
      Closing.after(e, storage);
      throw e;
    }
  }

  /** CVE-2008-2004: the guest of a raw image may have written there whatever it liked. */
  private void refuseProbedRaw(String name) throws IOException {
    if (!(options.references() instanceof References.Anywhere)) {
      throw new ReferenceDeniedException(
          above().storage.name(),
          -1,
          FORMAT,
          "the image does not say what '%s' is, and it does not look like any format"
              .formatted(name),
          "write the format into the image, if it is known to be raw");
    }
  }

  private FileStorage openFile(String field, String name, boolean writable) throws IOException {
    Path file = resolve(field, name);
    refuseSamePath(field, name, file);
    FileStorage opened;
    try {
      var gate = new Gate(options.references(), storage.name(), field);
      opened = gate.open(file, folder(), options.file(writable));
    } catch (ImageException e) {
      throw e;
    } catch (IOException e) {
      throw new ReferenceFailedException(storage.name(), field.equals(DATA), file.toString(), e);
    }
    try {
      refuseSameFile(field, name, opened);
      return opened;
    } catch (IOException | RuntimeException e) {
      opened.close();
      throw e;
    }
  }

  private Path resolve(String field, String name) throws IOException {
    try {
      Path from = path != null ? path : Path.of("");
      Path file = field.equals(DATA) ? Names.literal(from, name) : Names.backing(from, name);
      if (path == null && !file.isAbsolute()) {
        throw denied(field, "'%s' is relative, and the image is in no folder".formatted(name));
      }
      return file;
    } catch (InvalidPathException e) {
      throw new ImageFormatException(
          storage.name(), -1, field, "'%s' is no file name".formatted(name));
    }
  }

  private @Nullable Path folder() {
    return path == null ? null : path.toAbsolutePath().getParent();
  }

  /** Before anything is opened: a lock on a file that is already open would be refused. */
  private void refuseSamePath(String field, String name, Path file) throws IOException {
    for (Chain link = this; link != null; link = link.above) {
      if (link.path != null && Files.exists(file) && Files.isSameFile(link.path, file)) {
        throw loop(field, name, link);
      }
    }
  }

  private void refuseSameFile(String field, String name, FileStorage opened) throws IOException {
    for (Chain link = this; link != null; link = link.above) {
      if (link.storage instanceof FileStorage other && opened.isSameFile(other)) {
        throw loop(field, name, link);
      }
    }
  }

  private ReferenceDeniedException loop(String field, String name, Chain link) {
    return denied(
        field, "'%s' creates an infinite loop: it is %s".formatted(name, link.storage.name()));
  }

  private ReferenceDeniedException denied(String field, String problem) {
    return new ReferenceDeniedException(storage.name(), -1, field, problem);
  }

  private Chain above() {
    return above != null ? above : this;
  }
}
