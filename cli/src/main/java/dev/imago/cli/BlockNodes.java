package dev.imago.cli;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.filter.CompressingImage;
import dev.imago.filter.CopyOnReadImage;
import dev.imago.filter.FaultStorage;
import dev.imago.filter.WindowStorage;
import dev.imago.image.Image;
import dev.imago.storage.FileStorage;
import dev.imago.storage.NullStorage;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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

  /** The storages that can hold requests up. */
  List<FaultStorage> faulty() {
    return faulty;
  }

  /** Opens an image. */
  Image image(BlockOptions options) throws Failure, IOException {
    String driver = options.take("driver");
    boolean readOnly = options.takeSwitch("read-only", !how.writable());
    takeUsual(options);
    return switch (driver) {
      case "copy-on-read" -> copyOnRead(options);
      case "compress" -> {
        BlockOptions below = options.takeBelow("file.");
        options.requireAllTaken("format", driver);
        yield new CompressingImage(image(below));
      }
      case "throttle" ->
          throw new Failure("Please specify a throttle group\nhint: there are no groups here");
      case null, default -> {
        OpenOptions opened = how.writable(how.writable() && !readOnly);
        if (driver != null && isProtocol(driver)) {
          yield raw(protocol(driver, options), opened);
        }
        yield format(driver, options, opened);
      }
    };
  }

  private static boolean isProtocol(String driver) {
    return switch (driver) {
      case "file", "host_device", "null-co", "null-aio", "blkdebug", "nbd" -> true;
      default -> false;
    };
  }

  /**
   * An export and the format of what is in it.
   *
   * @param format null to probe
   * @param alone whether no format was named beside the export, not even to be probed
   */
  record Export(Storage storage, @Nullable String format, boolean alone) {}

  /**
   * Opens an NBD export, and not what is in it. Null if the options are about something else;
   * nothing is opened then.
   */
  @Nullable Export export(BlockOptions options) throws Failure, IOException {
    BlockOptions below = options.takeBelow("file.");
    String driver = options.take("driver");
    takeUsual(options);
    boolean alone = "nbd".equals(driver) && below.isEmpty();
    if (!alone && !"nbd".equals(below.take("driver"))) {
      return null;
    }
    if (alone) {
      return new Export(exports().open(options, how.writable()), "raw", true);
    }
    options.requireAllTaken("format", String.valueOf(driver));
    if (driver != null && !Images.formats().contains(driver)) {
      throw new Failure("Unknown driver '" + driver + "'");
    }
    takeUsual(below);
    below.take("read-only");
    return new Export(exports().open(below, how.writable()), driver, false);
  }

  private Image raw(Storage storage, OpenOptions opened) throws IOException {
    return Images.open(storage, file, opened.format("raw"));
  }

  private Image copyOnRead(BlockOptions options) throws Failure, IOException {
    BlockOptions below = options.takeBelow("file.");
    options.requireAllTaken("format", "copy-on-read");
    Image image = image(below);
    return image.readOnly() ? image : new CopyOnReadImage(image);
  }

  private Image format(@Nullable String driver, BlockOptions options, OpenOptions opened)
      throws Failure, IOException {
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
    Storage storage = name != null ? file(name) : storage(below);
    if (start >= 0 || size >= 0) {
      storage = window(storage, Math.max(start, 0), size);
    }
    return Images.open(storage, file, opened.format(driver));
  }

  private static Storage window(Storage storage, long start, long size)
      throws Failure, IOException {
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

  /** Options of every node that are ours already, or change nothing here. */
  private static void takeUsual(BlockOptions options) {
    for (String name :
        List.of(
            "node-name",
            "discard",
            "detect-zeroes",
            "cache.direct",
            "cache.no-flush",
            "auto-read-only",
            "force-share")) {
      options.take(name);
    }
  }

  private Storage storage(BlockOptions options) throws Failure, IOException {
    takeUsual(options);
    options.take("read-only");
    String driver = options.take("driver");
    if (driver != null && !isProtocol(driver)) {
      throw new Failure(
          Images.formats().contains(driver)
              ? "driver '" + driver + "' below a format is not supported here"
              : "Unknown driver '" + driver + "'");
    }
    return protocol(driver == null ? "file" : driver, options);
  }

  private Storage protocol(String driver, BlockOptions options) throws Failure, IOException {
    return switch (driver) {
      case "blkdebug" -> blkdebug(options);
      case "nbd" -> exports().open(options, how.writable());
      case "null-co", "null-aio" -> {
        long size = options.takeSize("size", NULL_SIZE);
        options.takeSwitch("read-zeroes", false);
        options.take("latency-ns");
        options.requireAllTaken("protocol", driver);
        yield new NullStorage(driver + "://", size);
      }
      default -> {
        String name = options.take("filename");
        options.take("aio");
        options.take("locking");
        options.requireAllTaken("protocol", driver);
        if (name == null || name.isEmpty()) {
          throw new Failure("The '" + driver + "' block driver requires a file name");
        }
        if (driver.equals("host_device")) {
          new FileName("", name).requireDevice();
        }
        yield file(name);
      }
    };
  }

  private Exports exports() {
    return how.resolver() instanceof Exports known ? known : new Exports(null);
  }

  private Storage file(String name) throws Failure, IOException {
    Path path = new FileName("", name).path();
    file = path;
    return FileStorage.open(
        path,
        new FileStorage.Options(
            how.writable(), how.direct(), !how.forceShare(), how.nativeAccess()));
  }

  private Storage blkdebug(BlockOptions options) throws Failure, IOException {
    Blkdebug.Parsed parsed = Blkdebug.parse(options);
    BlockOptions below = options.takeBelow("image.");
    options.requireAllTaken("protocol", "blkdebug");
    if (below.isEmpty()) {
      throw new Failure("A block device must be specified for \"image\"");
    }
    FaultStorage storage =
        new FaultStorage(storage(below), parsed.rules(), parsed.limits(), listener);
    faulty.add(storage);
    return storage;
  }
}
