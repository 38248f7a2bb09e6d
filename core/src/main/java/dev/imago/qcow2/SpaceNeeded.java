package dev.imago.qcow2;

import dev.imago.crypto.LuksArea;
import dev.imago.image.LuksOptions;
import dev.imago.qcow2.ondisk.Geometry;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** How much room images take that are not there yet. */
final class SpaceNeeded {
  /** Fixed part of a directory entry; the name follows. */
  private static final int DIRECTORY_ENTRY = 24;

  /** The longest disk of the largest clusters, and more than others can have. */
  private static final long MAX_SIZE = 1L << 61;

  private SpaceNeeded() {}

  /** See {@link Qcow2#spaceNeeded(Qcow2CreateOptions)}. */
  static long image(Qcow2CreateOptions options) {
    // What a data file keeps is as long there as here.
    var g =
        new Geometry(
            Integer.numberOfTrailingZeros(options.clusterSize()),
            Integer.numberOfTrailingZeros(options.refcountBits()),
            options.version(),
            false,
            options.extendedL2());
    long l2Tables = g.l1Entries(options.size());
    if (options.size() > MAX_SIZE || l2Tables > Geometry.MAX_L1_ENTRIES) {
      throw new IllegalArgumentException(Qcow2Creator.TOO_LARGE);
    }
    LuksOptions luks = options.luks();
    long fixed =
        1
            + (luks == null ? 0 : g.clusters(LuksArea.bytes(luks)))
            + g.clusters(l2Tables * Geometry.ENTRY_BYTES)
            + l2Tables
            + g.clusters(options.size());
    // An image may be so large that not all of it can be counted: it is told all the same.
    long[] refcounts = Qcow2Creator.refcountClusters(fixed, g);
    return g.clusterOffset(fixed + refcounts[0] + refcounts[1]);
  }

  /** See {@link Qcow2#spaceNeeded(Qcow2CreateOptions, List)}. */
  static long bitmaps(Qcow2CreateOptions options, List<BitmapInfo> bitmaps) {
    if (bitmaps.isEmpty()) {
      return 0;
    }
    long clusterSize = options.clusterSize();
    long directory = 0;
    long clusters = 0;
    for (BitmapInfo each : bitmaps) {
      int name = each.name().getBytes(StandardCharsets.UTF_8).length;
      directory += Math.ceilDiv(DIRECTORY_ENTRY + name, 8) * 8L;
      long bits = Math.ceilDiv(options.size(), each.granularity());
      long data = Math.ceilDiv(Math.ceilDiv(bits, 8L), clusterSize);
      clusters += data + Math.ceilDiv(data * Long.BYTES, clusterSize);
    }
    return (clusters + Math.ceilDiv(directory, clusterSize)) * clusterSize;
  }
}
