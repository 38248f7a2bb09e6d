package dev.imago;

import dev.imago.image.CheckResult;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.qcow2.Qcow2;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Opens, creates and looks at images of every known format. */
public final class Images {
  private Images() {}

  /** Names of the formats that can be opened and created. */
  public static List<String> formats() {
    return Formats.names();
  }

  /**
   * Opens an image file, or a block device that holds an image.
   *
   * @throws java.nio.file.NoSuchFileException if the file is not there
   * @throws dev.imago.storage.StorageLockedException if somebody else uses it
   * @throws UnknownFormatException if the options ask for a format that is not known
   * @throws dev.imago.image.ImageFormatException if the file is not in the format asked for
   * @throws dev.imago.image.ReferenceDeniedException if it names what the options do not allow
   */
  public static Image open(Path path, OpenOptions options) throws IOException {
    FileStorage storage;
    try {
      storage = FileStorage.open(path, options.file(options.writable()));
    } catch (IOException | RuntimeException e) {
      Closing.after(e, options.backing(), options.dataFile());
      throw e;
    }
    return open(storage, path, options);
  }

  /** Opens an image file for reading; its format is probed. */
  public static Image openReadOnly(Path path, References references) throws IOException {
    return open(path, OpenOptions.of(references));
  }

  /**
   * Opens an image that is kept in a storage. It belongs to the image, and is closed too if opening
   * fails.
   *
   * <p>The image has no folder: relative names inside it are refused.
   */
  public static Image open(Storage storage, OpenOptions options) throws IOException {
    return open(storage, null, options);
  }

  /** The name of the format that the first 512 bytes fit best; {@code raw} if none does. */
  public static String probe(Storage storage) throws IOException {
    return Formats.probe(storage);
  }

  /** Looks at a file and opens nothing that it names. The format is probed. */
  public static Inspection inspect(Path path) throws IOException {
    return inspect(path, null, false);
  }

  /**
   * Looks at a file and opens nothing that it names.
   *
   * @param format the format's name, or null to probe
   * @param forceShare whether to look without a lock, while someone may be writing
   */
  public static Inspection inspect(Path path, @Nullable String format, boolean forceShare)
      throws IOException {
    try (var storage = FileStorage.open(path, looking(forceShare))) {
      return inspect(storage, format);
    }
  }

  /**
   * Looks at a file, its backing file, and so on down.
   *
   * @throws dev.imago.image.ReferenceDeniedException for a chain that is a loop, too deep, or
   *     leaves what {@code references} allow
   */
  public static List<Inspection> backingChain(
      Path path, @Nullable String format, boolean forceShare, References references)
      throws IOException {
    var options = OpenOptions.of(references).forceShare(forceShare);
    List<Inspection> layers = new ArrayList<>();
    List<Storage> open = new ArrayList<>();
    try {
      Storage top = FileStorage.open(path, options.file(false));
      open.add(top);
      Chain chain = Chain.top(options, top, path);
      Inspection layer = inspect(top, format);
      layers.add(layer);
      while (layer.backingFile() != null && !layer.backingFile().isEmpty()) {
        chain = chain.below(layer.backingFile());
        open.add(chain.storage());
        layer = inspect(chain.storage(), layer.backingFormat());
        layers.add(layer);
      }
      return List.copyOf(layers);
    } finally {
      for (Storage each : open) {
        each.close();
      }
    }
  }

  /**
   * Makes an image, in place of whatever {@code path} held. If that fails, a file that was not
   * there before is removed again.
   *
   * @throws IllegalArgumentException if the options contradict each other or the format
   */
  public static void create(Path path, CreateOptions options) throws IOException {
    // A few kilobytes are written faster than foreign functions are linked.
    boolean natively = options.preallocation() != CreateOptions.Preallocation.OFF;
    OpenOptions how = OpenOptions.of(References.deny()).nativeAccess(natively);
    try (var image = NewImage.create(path, options, how, false)) {
      image.keep();
    }
  }

  /**
   * Makes an image in a storage, in place of whatever it held; it stays open. A storage of fixed
   * size may be longer than a raw image, and must hold what is written of another.
   *
   * @throws IllegalArgumentException if the options contradict each other or the format, or name a
   *     data file
   * @throws dev.imago.storage.StorageIoException if there is no room
   */
  public static void create(Storage storage, CreateOptions options) throws IOException {
    NewImage.fill(storage, options);
  }

  /**
   * The file that a backing file's name, as it stands in {@code image}, speaks of; relative names
   * are relative to the image's folder. Looks at nothing.
   */
  public static Path resolveName(Path image, String name) {
    return Names.backing(image, name);
  }

  /**
   * Checks an image's own structures. Changes nothing.
   *
   * @param format the format's name, or null to probe
   * @throws CheckUnsupportedException if the format has nothing to check: raw
   */
  public static CheckResult check(
      Path path, @Nullable String format, boolean forceShare, Progress progress)
      throws IOException {
    try (var storage = FileStorage.open(path, looking(forceShare))) {
      return check(storage, format, progress);
    }
  }

  /** As {@link #check(Path, String, boolean, Progress)}; the storage stays open. */
  public static CheckResult check(Storage storage, @Nullable String format, Progress progress)
      throws IOException {
    String known = format != null ? format : Formats.probe(storage);
    return switch (known) {
      case Formats.QCOW2 -> Qcow2.check(storage, progress);
      case Formats.RAW -> throw new CheckUnsupportedException(storage.name(), known);
      default -> throw new UnknownFormatException(known);
    };
  }

  /**
   * Checks an image's own structures, sets right what can be set right, and checks again. A failure
   * leaves the image no worse than it was.
   *
   * @param format the format's name, or null to probe
   * @throws CheckUnsupportedException if the format has nothing to check: raw
   * @throws dev.imago.storage.StorageLockedException if somebody else uses it
   */
  public static RepairResult repair(
      Path path, @Nullable String format, RepairMode mode, Progress progress) throws IOException {
    try (var storage = FileStorage.open(path, FileStorage.Options.readWrite())) {
      return repair(storage, format, mode, progress);
    }
  }

  /** As {@link #repair(Path, String, RepairMode, Progress)}; the storage stays open. */
  public static RepairResult repair(
      Storage storage, @Nullable String format, RepairMode mode, Progress progress)
      throws IOException {
    String known = format != null ? format : Formats.probe(storage);
    return switch (known) {
      case Formats.QCOW2 -> Qcow2.repair(storage, mode, progress);
      case Formats.RAW -> throw new CheckUnsupportedException(storage.name(), known);
      default -> throw new UnknownFormatException(known);
    };
  }

  /**
   * Opens an image that is kept in a storage, and that has a place among files all the same: the
   * storage filters what is in that file.
   *
   * @param storage belongs to the image, and is closed too if opening fails
   * @param path the file; relative names inside the image are relative to its folder. Null if there
   *     is none
   */
  public static Image open(Storage storage, @Nullable Path path, OpenOptions options)
      throws IOException {
    try {
      String format = options.format();
      String known = format == null ? Formats.probe(storage) : format;
      Chain chain = Chain.top(options, storage, path);
      Image image = Formats.open(storage, known, format == null, options, chain);
      if (!chain.allTaken()) {
        image.close();
        throw new IllegalArgumentException(
            image.name() + " names no backing or data file for those that were given");
      }
      return image;
    } catch (IOException | RuntimeException e) {
      Closing.after(e, storage, options.backing(), options.dataFile());
      throw e;
    }
  }

  private static FileStorage.Options looking(boolean forceShare) {
    return FileStorage.Options.readOnly().withLock(!forceShare);
  }

  private static Inspection inspect(Storage storage, @Nullable String format) throws IOException {
    List<String> matching = Formats.matching(storage);
    String known = format != null ? format : matching.getFirst();
    return switch (known) {
      case Formats.QCOW2 -> Inspection.of(storage, matching, Qcow2.info(storage));
      case Formats.RAW -> Inspection.ofRaw(storage, matching);
      default -> throw new UnknownFormatException(known);
    };
  }
}
