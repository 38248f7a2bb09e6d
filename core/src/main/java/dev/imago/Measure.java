package dev.imago;

import dev.imago.image.Image;
import dev.imago.qcow2.BitmapInfo;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2CreateOptions;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/** Tells how much room an image will take before it is made. Nothing is written. */
public final class Measure {
  private static final int SECTOR = 512;

  private Measure() {}

  /**
   * An image without contents.
   *
   * @throws IllegalArgumentException if there can be no image of that size
   */
  public static Measurement of(CreateOptions options) {
    if (options.format().equals(Formats.RAW)) {
      return raw(options.size());
    }
    Qcow2CreateOptions qcow2 = qcow2(options, options.size());
    return measured(qcow2, allocatesAll(qcow2) ? clusters(qcow2) : 0, OptionalLong.empty());
  }

  /**
   * An image that {@link Convert} fills from {@code source}, which decides on its size. If it is to
   * stand on a backing image, nobody knows how much of the source that has: all of it is counted
   * then.
   *
   * @param options their size is not looked at
   * @throws IllegalArgumentException if there can be no image of the source's size
   */
  public static Measurement of(Image source, CreateOptions options) throws IOException {
    if (options.format().equals(Formats.RAW)) {
      return raw(source.size());
    }
    Qcow2CreateOptions qcow2 = qcow2(options, source.size());
    boolean all = allocatesAll(qcow2) || qcow2.backingFile() != null;
    long data = all ? clusters(qcow2) : dataClusters(source, qcow2.clusterSize());
    return measured(qcow2, data, bitmaps(source, qcow2));
  }

  private static Measurement raw(long size) {
    if (size < 0 || size > Long.MAX_VALUE - SECTOR) {
      throw new IllegalArgumentException("The image size is too large for file format 'raw'");
    }
    long rounded = size + SECTOR - 1 & -SECTOR;
    return new Measurement(rounded, rounded, OptionalLong.empty());
  }

  private static Qcow2CreateOptions qcow2(CreateOptions options, long size) {
    if (!options.format().equals(Formats.QCOW2)) {
      throw new IllegalArgumentException("no image format '%s'".formatted(options.format()));
    }
    return Formats.qcow2(options.size(size));
  }

  private static boolean allocatesAll(Qcow2CreateOptions options) {
    return switch (options.preallocation()) {
      case OFF, METADATA -> false;
      case FALLOC, FULL -> true;
    };
  }

  private static long clusters(Qcow2CreateOptions options) {
    return Math.ceilDiv(options.size(), (long) options.clusterSize());
  }

  private static Measurement measured(
      Qcow2CreateOptions options, long dataClusters, OptionalLong bitmaps) {
    long all = Qcow2.spaceNeeded(options);
    long unused = (clusters(options) - dataClusters) * options.clusterSize();
    return new Measurement(all - unused, all, bitmaps);
  }

  /** How many clusters of this size have data in them. */
  private static long dataClusters(Image source, long clusterSize) throws IOException {
    SourceData data = new SourceData(source);
    long size = source.size();
    long clusters = 0;
    for (long at = 0; at < size; ) {
      SourceData.Run run = data.at(at, size - at);
      long end = at + run.length();
      if (run.data()) {
        // What else there is in the last cluster is counted with it.
        end = Math.min(size, Math.ceilDiv(end, clusterSize) * clusterSize);
        clusters += Math.ceilDiv(end, clusterSize) - at / clusterSize;
      }
      at = end;
    }
    return clusters;
  }

  private static OptionalLong bitmaps(Image source, Qcow2CreateOptions options) throws IOException {
    if (options.version() < 3
        || !source.format().equals(Formats.QCOW2)
        || !Qcow2.bitmaps(source).supported()) {
      return OptionalLong.empty();
    }
    List<BitmapInfo> bitmaps = new ArrayList<>(Qcow2.bitmaps(source).list());
    return OptionalLong.of(Qcow2.spaceNeeded(options, bitmaps));
  }
}
