package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.Qcow2;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.jspecify.annotations.Nullable;

/**
 * An image that is being made. Closing it without {@link #keep} takes it away again: a file that
 * was made is removed, one that was there before is left empty, a block device is left as it is.
 * What the files held is given up only when nothing is left that could be refused; until then they
 * stay as they were.
 */
final class NewImage implements Closeable {
  /** Stands in place of qcow2's magic as long as the image is not complete. */
  static final int UNFINISHED = 0x51464900;

  private static final int SECTOR = 512;

  private final Path path;
  private final boolean existed;
  private final FileStorage file;
  private final @Nullable Path dataPath;
  private final boolean dataExisted;
  private final @Nullable FileStorage dataFile;
  private final String format;
  private boolean emptied;
  private boolean kept;

  private NewImage(Path path, CreateOptions options, OpenOptions how) throws IOException {
    this.path = path;
    this.format = options.format();
    String dataName = options.dataFile();
    this.dataPath = dataName == null ? null : Names.literal(path, dataName);
    this.existed = exists(path);
    this.dataExisted = dataPath != null && exists(dataPath);
    this.file = FileStorage.ensure(path, how.file(true));
    try {
      this.dataFile = dataPath == null ? null : FileStorage.ensure(dataPath, how.file(true));
    } catch (IOException | RuntimeException e) {
      Closing.after(e, file);
      takeAway(path, existed);
      throw e;
    }
  }

  private static boolean exists(Path path) {
    return Files.exists(path, LinkOption.NOFOLLOW_LINKS);
  }

  /**
   * Makes an image without contents.
   *
   * @param how for the host's cache, foreign functions and locks
   * @param toBeOpened whether {@link #open} follows, so that a backing file must be one that can be
   *     opened
   * @throws IllegalArgumentException if the options contradict each other or the format; nothing
   *     was touched then
   */
  static NewImage create(Path path, CreateOptions options, OpenOptions how, boolean toBeOpened)
      throws IOException {
    check(path, options);
    NewImage image = new NewImage(path, options, how);
    try {
      if (toBeOpened && options.backingFile() != null) {
        Chain chain = Chain.top(how, image.file, path);
        chain.openBacking(options.backingFile(), options.backingFormat()).close();
      }
      image.fill(options, how.sync());
      return image;
    } catch (IOException | RuntimeException e) {
      Closing.after(e, image);
      throw e;
    }
  }

  /** Makes an image without contents in a storage that is there. */
  static void fill(Storage storage, CreateOptions options) throws IOException {
    if (options.dataFile() != null) {
      throw new IllegalArgumentException("The data file of an image that is in no folder");
    }
    checkFormat(options);
    if (options.format().equals(Formats.QCOW2)) {
      Qcow2.create(storage, Formats.qcow2(options), null, SyncMode.FULL);
      return;
    }
    long size = wholeSectors(options);
    if (!storage.fixedSize() || size > storage.size()) {
      storage.resize(size, preallocation(options));
    }
  }

  private void fill(CreateOptions options, SyncMode sync) throws IOException {
    if (format.equals(Formats.RAW) && wholeSectors(options) > file.size()) {
      // A file system that has no files of that size says so while the old bytes are there.
      file.resize(wholeSectors(options), Storage.Preallocation.OFF);
    }
    emptied = true;
    file.empty();
    if (dataFile != null) {
      dataFile.empty();
    }
    if (format.equals(Formats.QCOW2)) {
      Qcow2.create(file, Formats.qcow2(options), dataFile, sync);
    } else {
      file.resize(wholeSectors(options), preallocation(options));
    }
  }

  /** Opens the image for filling it. It looks unfinished from now on, until {@link #keep}. */
  Image open(OpenOptions options) throws IOException {
    OpenOptions how = dataFile == null ? options : options.dataFile(dataFile);
    Image image = Formats.open(file, format, false, how.writable(true), Chain.top(how, file, path));
    if (format.equals(Formats.QCOW2)) {
      try {
        writeMagic(UNFINISHED);
        if (options.sync() == SyncMode.FULL) {
          file.flush();
        }
      } catch (IOException e) {
        Closing.after(e, image);
        throw e;
      }
    }
    return image;
  }

  /** What is still to be done to an image that looks complete. */
  interface LastStep {
    void run() throws IOException;
  }

  /** Says that the opened image is complete, does a last step, and closes it. */
  void finish(Image image, SyncMode sync, LastStep last) throws IOException {
    image.flush();
    if (format.equals(Formats.QCOW2)) {
      writeMagic(Formats.QCOW2_MAGIC);
      if (sync != SyncMode.NONE) {
        file.flush();
      }
    }
    last.run();
    image.close();
    if (sync == SyncMode.FULL && !existed) {
      flushFolder();
    }
    keep();
  }

  /** A file that is made is safe only when its folder is. */
  private void flushFolder() throws IOException {
    Path folder = path.toAbsolutePath().getParent();
    if (folder != null) {
      try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
        channel.force(true);
      }
    }
  }

  /** From now on closing leaves everything in its place. */
  void keep() {
    kept = true;
  }

  @Override
  public void close() throws IOException {
    try (dataFile) {
      file.close();
    } finally {
      if (!kept) {
        takeAway(path, existed);
        if (dataPath != null) {
          takeAway(dataPath, dataExisted);
        }
      }
    }
  }

  private void takeAway(Path path, boolean existed) throws IOException {
    if (!existed) {
      Files.deleteIfExists(path);
    } else if (emptied && Files.isRegularFile(path)) {
      FileChannel.open(path, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)
          .close();
    }
  }

  private void writeMagic(int magic) throws IOException {
    file.write(ByteBuffer.allocate(Integer.BYTES).putInt(0, magic), 0);
  }

  private static void check(Path path, CreateOptions options) throws IOException {
    checkFormat(options);
    checkNames(path, options);
  }

  private static void checkFormat(CreateOptions options) throws IOException {
    if (!Formats.names().contains(options.format())) {
      throw new UnknownFormatException(options.format());
    }
    if (options.size() < 0) {
      throw new IllegalArgumentException("size " + options.size());
    }
    String backing = options.backingFile();
    if (options.format().equals(Formats.RAW)) {
      if (backing != null) {
        throw new IllegalArgumentException("Backing file not supported for file format 'raw'");
      }
      if (options.luks() != null) {
        throw new IllegalArgumentException("a raw image is not encrypted");
      }
      if (options.dataFile() != null) {
        throw new IllegalArgumentException("a raw image has no data file");
      }
      wholeSectors(options);
      preallocation(options);
    } else {
      Qcow2.validate(Formats.qcow2(options));
    }
  }

  private static void checkNames(Path path, CreateOptions options) throws IOException {
    String backing = options.backingFile();
    String dataName = options.dataFile();
    Path data = dataName == null ? null : Names.literal(path, dataName);
    Path behind =
        backing == null || Names.protocol(backing).isPresent()
            ? null
            : Names.backing(path, backing);
    if (same(path, behind)) {
      throw new IllegalArgumentException(
          "Trying to create an image with the same filename as the backing file");
    }
    if (same(path, data) || same(data, behind)) {
      throw new IllegalArgumentException(
          "The data file must be neither the image nor its backing file");
    }
  }

  private static boolean same(@Nullable Path a, @Nullable Path b) throws IOException {
    return a != null
        && b != null
        && (a.equals(b) || (Files.exists(a) && Files.exists(b) && Files.isSameFile(a, b)));
  }

  private static long wholeSectors(CreateOptions options) {
    long size = options.size() + SECTOR - 1 & -SECTOR;
    if (size < 0) {
      throw new IllegalArgumentException("The image size is too large for file format 'raw'");
    }
    return size;
  }

  private static Storage.Preallocation preallocation(CreateOptions options) {
    return switch (options.preallocation()) {
      case OFF -> Storage.Preallocation.OFF;
      case FALLOC -> Storage.Preallocation.FALLOC;
      case FULL -> Storage.Preallocation.FULL;
      case METADATA ->
          throw new IllegalArgumentException("raw images have no metadata to preallocate");
    };
  }
}
