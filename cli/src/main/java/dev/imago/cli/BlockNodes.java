package dev.imago.cli;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.filter.CompressingImage;
import dev.imago.filter.CopyOnReadImage;
import dev.imago.filter.FaultStorage;
import dev.imago.filter.ImageStorage;
import dev.imago.filter.ThrottleGroup;
import dev.imago.filter.ThrottledImage;
import dev.imago.filter.ThrottledStorage;
import dev.imago.filter.WindowStorage;
import dev.imago.image.Image;
import dev.imago.storage.FileStorage;
import dev.imago.storage.NullStorage;
import dev.imago.storage.Storage;
import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Opens images by the names of block drivers: formats, filters, and what is below them. Nothing is
 * opened but what the options name, and what the open options allow an image to name.
 */
final class BlockNodes {
  /** A null device has this size unless it is told another: 1 GiB. */
  private static final long NULL_SIZE = 1L << 30;

  private final Consumer<String> listener;
  private final OpenOptions how;
  private final List<FaultStorage> faulty = new ArrayList<>();

  /** The file at the bottom, where names inside the image are relative to its folder. */
  private @Nullable Path file;

  /** Where the image is that was opened last. */
  private @Nullable Storage lowest;

  /**
   * Nothing is opened yet.
   *
   * @param how what the options do not say
   * @param listener told when a breakpoint holds a request up
   */
  BlockNodes(OpenOptions how, Consumer<String> listener) {
    this.listener = listener;
    this.how = how;
  }

  /** The file at the bottom, if one was opened. */
  @Nullable Path file() {
    return file;
  }

  /** The storages that can hold requests up. */
  List<FaultStorage> faulty() {
    return faulty;
  }

  /** Opens an image. */
  Image image(BlockOptions options) throws Failure, IOException {
    return image(options, how);
  }

  private Image image(BlockOptions options, OpenOptions above) throws Failure, IOException {
    String driver = options.copy().take("driver");
    if (driver == null || !isFilter(driver)) {
      Place place = place(options, above);
      lowest = place.storage();
      return Images.open(place.storage(), file, place.how().format(place.imageFormat()));
    }
    options.take("driver");
    OpenOptions opened = NodeOptions.take(options, above);
    BlockOptions below = takeFiltered(options);
    ThrottleGroup group =
        driver.equals("throttle") ? ThrottleGroups.require(options.take("throttle-group")) : null;
    options.requireAllTaken("format", driver);
    Image image = image(below, opened);
    try {
      requireFit(driver, image.format(), image.readOnly());
    } catch (Failure e) {
      image.close();
      throw e;
    }
    return group != null
        ? new ThrottledImage(image, group)
        : driver.equals("compress") ? new CompressingImage(image) : new CopyOnReadImage(image);
  }

  private static boolean isFilter(String driver) {
    return switch (driver) {
      case "compress", "copy-on-read", "throttle" -> true;
      default -> false;
    };
  }

  /** Whether a driver gives bytes that are nobody's disk yet. */
  static boolean isProtocol(String driver) {
    return switch (driver) {
      case "file", "host_device", "null-co", "null-aio", "blkdebug", "nbd" -> true;
      default -> false;
    };
  }

  /** Takes out what a filter works on: the bytes of a file unless a driver is named. */
  static BlockOptions takeFiltered(BlockOptions options) throws Failure {
    BlockOptions below = options.takeBelow("file.");
    if (below.isEmpty()) {
      throw new Failure("A block device must be specified for \"file\"");
    }
    below.putIfAbsent("driver", "file");
    return below;
  }

  /** Refuses a filter over what it cannot work on. */
  static void requireFit(String driver, String below, boolean readOnly) throws Failure {
    if (driver.equals("compress") && !below.equals("qcow2")) {
      throw new Failure("Compression is not supported for underlying format: " + below);
    }
    if (driver.equals("copy-on-read") && readOnly) {
      throw new Failure("Block node is read-only");
    }
  }

  /**
   * A storage in which an image is, or is to be looked for.
   *
   * @param format of the image, or the driver if it is one without formats; null to probe
   * @param how the image is opened
   */
  record Place(@Nullable String format, Storage storage, OpenOptions how) implements Closeable {

    /** The format of ours. */
    @Nullable String imageFormat() {
      return format != null && isProtocol(format) ? "raw" : format;
    }

    /** Whether a file is all there is, so that it can be asked for more than its bytes. */
    boolean isOfFile() {
      return storage instanceof FileStorage || storage instanceof WindowStorage;
    }

    @Override
    public void close() throws IOException {
      storage.close();
    }
  }

  /** Whether the uppermost node is a filter, which is no place. */
  static boolean isFiltered(BlockOptions options) {
    String driver = options.copy().take("driver");
    return driver != null && isFilter(driver);
  }

  /** What is below all filters. */
  static BlockOptions unfiltered(BlockOptions options) {
    BlockOptions below = options;
    while (isFiltered(below)) {
      below = below.copy().takeBelow("file.");
    }
    return below;
  }

  /** Opens what is below a format, and does not look at it. */
  Place place(BlockOptions options) throws Failure, IOException {
    return place(options, how);
  }

  private Place place(BlockOptions options, OpenOptions above) throws Failure, IOException {
    String driver = options.take("driver");
    OpenOptions opened = NodeOptions.take(options, above);
    if (driver != null && isProtocol(driver)) {
      return new Place(driver, protocol(driver, options, opened), opened);
    }
    if (driver != null && !Images.formats().contains(driver)) {
      throw new Failure("Unknown driver '" + driver + "'");
    }
    BlockOptions below = options.takeBelow("file.");
    String name = options.take("filename");
    if (below.isEmpty() && name == null) {
      throw new Failure(
          driver == null
              ? "Must specify either driver or file"
              : "A block device must be specified for \"file\"");
    }
    long start = options.takeSize("offset", -1);
    long size = options.takeSize("size", -1);
    if (!"raw".equals(driver) && (start >= 0 || size >= 0)) {
      throw new Failure(
          "Block format '"
              + driver
              + "' does not support the option '"
              + (start >= 0 ? "offset" : "size")
              + "'");
    }
    options.requireAllTaken("format", String.valueOf(driver));
    Storage storage = name != null ? file(name, opened, true) : storage(below, opened);
    return new Place(driver, window(storage, start, size), opened);
  }

  /** A part of a storage; all of it if neither is said. */
  private static Storage window(Storage storage, long from, long size) throws Failure, IOException {
    if (from < 0 && size < 0) {
      return storage;
    }
    long start = Math.max(from, 0);
    String problem = null;
    if (size >= 0 && size % 512 != 0) {
      problem = "Specified size is not multiple of 512";
    } else if (start > storage.size()) {
      problem =
          "The offset ("
              + start
              + ") has to be smaller than the actual size of the containing file ("
              + storage.size()
              + ")";
    } else if (size > storage.size() - start) {
      problem =
          "The sum of offset ("
              + start
              + ") and size ("
              + size
              + ") has to be smaller or equal to the  actual size of the containing file ("
              + storage.size()
              + ")";
    }
    if (problem != null) {
      storage.close();
      throw new Failure(problem);
    }
    return new WindowStorage(storage, start, size >= 0 ? size : storage.size() - start);
  }

  private Storage storage(BlockOptions options, OpenOptions above) throws Failure, IOException {
    if (isOfImage(options)) {
      return ofImage(options, above);
    }
    OpenOptions opened = NodeOptions.take(options, above);
    if (opened.sync() != above.sync()) {
      throw new Failure("Parameter 'cache.no-flush' is supported for formats only");
    }
    String named = options.take("driver");
    String driver = named == null ? "file" : named;
    if (driver.equals("throttle") || driver.equals("raw")) {
      return between(driver, options, opened);
    }
    if (!isProtocol(driver)) {
      throw new Failure("Unknown driver '" + driver + "'");
    }
    return protocol(driver, options, opened);
  }

  /** Whether what is below a format is a disk itself, and not the bytes of a file. */
  private static boolean isOfImage(BlockOptions options) {
    String driver = options.copy().take("driver");
    return driver != null
        && switch (driver) {
          case "compress", "copy-on-read" -> true;
          case "raw" -> false;
          default -> Images.formats().contains(driver);
        };
  }

  /** Opens an image below a format. Keys and the like are those of the image above. */
  private Storage ofImage(BlockOptions options, OpenOptions above) throws Failure, IOException {
    OpenOptions own =
        OpenOptions.of(above.references())
            .writable(above.writable())
            .sync(above.sync())
            .direct(above.direct())
            .forceShare(above.forceShare())
            .nativeAccess(above.nativeAccess())
            .resolver(above.resolver());
    Image image = image(options, own);
    return new ImageStorage(image, Objects.requireNonNull(lowest));
  }

  /** What may stand between a format and its file. */
  private Storage between(String driver, BlockOptions options, OpenOptions opened)
      throws Failure, IOException {
    BlockOptions below = takeFiltered(options);
    if (driver.equals("throttle")) {
      ThrottleGroup group = ThrottleGroups.require(options.take("throttle-group"));
      options.requireAllTaken("format", driver);
      return new ThrottledStorage(storage(below, opened), group);
    }
    long start = options.takeSize("offset", -1);
    long size = options.takeSize("size", -1);
    options.requireAllTaken("format", driver);
    return window(storage(below, opened), start, size);
  }

  private Storage protocol(String driver, BlockOptions options, OpenOptions opened)
      throws Failure, IOException {
    return switch (driver) {
      case "blkdebug" -> blkdebug(options, opened);
      case "nbd" -> exports().open(options, opened.writable());
      case "null-co", "null-aio" -> {
        long size = options.takeSize("size", NULL_SIZE);
        options.takeSwitch("read-zeroes", false);
        options.take("latency-ns");
        options.requireAllTaken("protocol", driver);
        yield new NullStorage(driver + "://", size);
      }
      default -> {
        String name = options.take("filename");
        takeAio(options, opened.direct());
        boolean lock = takeLocking(options);
        options.requireAllTaken("protocol", driver);
        if (name == null || name.isEmpty()) {
          throw new Failure("The '" + driver + "' block driver requires a file name");
        }
        if (driver.equals("host_device")) {
          new FileName("", name).requireDevice();
        }
        yield file(name, opened, lock);
      }
    };
  }

  private Exports exports() {
    return how.resolver() instanceof Exports known ? known : new Exports(null);
  }

  /** There is one way only to do I/O here; it does what all of QEMU's do. */
  private static void takeAio(BlockOptions options, boolean direct) throws Failure {
    String aio = options.take("aio");
    switch (aio) {
      case null -> {}
      case "threads", "io_uring" -> {}
      case "native" -> {
        if (!direct) {
          throw new Failure(
              "aio=native was specified, but it requires cache.direct=on, which was not"
                  + " specified.");
        }
      }
      default -> throw new Failure("invalid parameter value: " + aio);
    }
  }

  private static boolean takeLocking(BlockOptions options) throws Failure {
    String locking = options.take("locking");
    return switch (locking) {
      case null -> true;
      case "on", "auto" -> true;
      case "off" -> false;
      default -> throw new Failure("invalid parameter value: " + locking);
    };
  }

  private Storage file(String name, OpenOptions opened, boolean lock) throws Failure, IOException {
    Path path = new FileName("", name).path();
    file = path;
    return FileStorage.open(
        path,
        new FileStorage.Options(
            opened.writable(),
            opened.direct(),
            lock && !opened.forceShare(),
            opened.nativeAccess()));
  }

  private Storage blkdebug(BlockOptions options, OpenOptions opened) throws Failure, IOException {
    Blkdebug.Parsed parsed = Blkdebug.parse(options);
    BlockOptions below = options.takeBelow("image.");
    options.requireAllTaken("protocol", "blkdebug");
    if (below.isEmpty()) {
      throw new Failure("A block device must be specified for \"image\"");
    }
    FaultStorage storage =
        new FaultStorage(storage(below, opened), parsed.rules(), parsed.limits(), listener);
    faulty.add(storage);
    return storage;
  }
}
