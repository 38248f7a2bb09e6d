package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.ImageFormatException;
import dev.imago.image.ReferenceOpener;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2CreateOptions;
import dev.imago.qcow2.Qcow2OpenOptions;
import dev.imago.raw.Raw;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/** All formats, and how to tell them apart. */
final class Formats {
  /** How much of an image is looked at to tell its format, in bytes. */
  private static final int PROBED = 512;

  static final String RAW = "raw";
  static final String QCOW2 = "qcow2";

  /** The first four bytes of a qcow2 image, big endian. */
  static final int QCOW2_MAGIC = 0x514649fb;

  private Formats() {}

  static List<String> names() {
    return List.of(RAW, QCOW2);
  }

  /** Every format that the first bytes fit, best first; {@code raw} always, and last. */
  static List<String> matching(Storage storage) throws IOException {
    ByteBuffer first = ByteBuffer.allocate(PROBED);
    storage.read(first, 0);
    if (first.getInt(0) == NewImage.UNFINISHED) {
      throw new ImageFormatException(
          storage.name(), 0, "magic", "this image was never finished: its maker was stopped");
    }
    return matching(first.flip());
  }

  private static List<String> matching(ByteBuffer first) {
    List<String> fits = new ArrayList<>();
    if (Qcow2.probe(first)) {
      fits.add(QCOW2);
    }
    fits.add(RAW);
    return fits;
  }

  static String probe(Storage storage) throws IOException {
    return matching(storage).getFirst();
  }

  /**
   * Opens a storage in a format that is known; closes it if that fails.
   *
   * @param probed whether the format is only what the first bytes look like
   */
  static Image open(
      Storage storage,
      String format,
      boolean probed,
      OpenOptions options,
      ReferenceOpener references)
      throws IOException {
    try {
      if (options.snapshot() != null && format.equals(RAW)) {
        throw new IllegalArgumentException(storage.name() + ": raw images have no snapshots");
      }
      return switch (format) {
        case RAW -> Raw.open(storage, options.writable(), options.sync(), firstSector(probed));
        case QCOW2 -> Qcow2.open(storage, qcow2(options), references);
        default -> throw new UnknownFormatException(format);
      };
    } catch (IOException | RuntimeException e) {
      Closing.after(e, storage);
      throw e;
    }
  }

  /** What may be written to a raw image's first sector. */
  private static Predicate<ByteBuffer> firstSector(boolean probed) {
    return probed ? sector -> matching(sector).size() == 1 : sector -> true;
  }

  private static Qcow2OpenOptions qcow2(OpenOptions options) {
    Qcow2OpenOptions how =
        Qcow2OpenOptions.defaults()
            .withWritable(options.writable())
            .withSync(options.sync())
            .withSnapshot(options.snapshot())
            .withRescue(options.isRescue())
            .withLazyRefcounts(options.lazyRefcounts())
            .withKey(options.key(), options.isWithoutKey())
            .withReferences(!options.isWithoutBacking(), !options.isWithoutDataFile())
            .withBackingInAnyCase(options.backingInAnyCase())
            .withCompression(options.compressionLevel(), options.compatWindow())
            .withReuse(!options.withoutReuse());
    long cache = options.cacheBytes();
    return cache < 0 ? how : how.withCaches(cache - cache / 4, cache / 4);
  }

  static Qcow2CreateOptions qcow2(CreateOptions options) {
    return Qcow2CreateOptions.ofSize(options.size())
        .withClusterSize(options.clusterSize())
        .withVersion(options.version(), options.refcountBits())
        .withLazyRefcounts(options.lazyRefcounts())
        .withExtendedL2(options.extendedL2())
        .withCompressionType(options.compressionType())
        .withBacking(options.backingFile(), options.backingFormat())
        .withDataFile(options.dataFile(), options.dataFileRaw())
        .withLuks(options.luks())
        .withPreallocation(
            Qcow2CreateOptions.Preallocation.valueOf(options.preallocation().name()));
  }
}
