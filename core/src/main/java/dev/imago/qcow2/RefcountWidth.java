package dev.imago.qcow2;

import dev.imago.image.Progress;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.Arrays;

/**
 * Writes all reference counts anew in another width. Only when no request is under way, all is on
 * the disk, and nothing will be changed through this open image any more: what it has in memory is
 * in the old width.
 *
 * <p>New blocks and a new table are written behind everything. When they are safe, one write to the
 * header's first sector leads to them and says their width. A crash finds the old counts or the new
 * ones; before, the new structures are space behind the end that nobody counts, afterwards the old
 * ones are free.
 *
 * <p>Spec: qcow2 digest, 5 and 15.3.
 */
final class RefcountWidth implements RefcountRebuild.Counts {
  private final Metadata metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final Progress progress;

  /** The clusters of the old table and its blocks, sorted: they are not counted any more. */
  private final long[] old;

  private final long end;
  private long told = -1;

  private RefcountWidth(Metadata metadata, Progress progress) throws IOException {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.storage = metadata.storage;
    this.progress = progress;
    this.old = structures();
    long all = geometry.firstClusterOfBlock(metadata.reftable.length());
    long used = metadata.counts.usedEnd(all);
    this.end =
        storage.fixedSize() ? used : Math.max(used, geometry.clusters(metadata.storage.size()));
  }

  /**
   * Passes if all counts fit.
   *
   * @throws IllegalArgumentException if one is too large
   */
  static void requirePossible(Metadata metadata, int bits) throws IOException {
    if (bits >= metadata.geometry.refcountBits()) {
      return;
    }
    long most = (1L << bits) - 1;
    HostCounts counts = metadata.counts;
    for (long at = counts.nextUsed(0); at >= 0; at = counts.nextUsed(at + 1)) {
      long count = counts.count(at);
      if (Long.compareUnsigned(count, most) > 0) {
        throw new IllegalArgumentException(
            "Cannot decrease refcount entry width to %d bits: Cluster at offset 0x%x has a refcount of %s"
                .formatted(
                    bits, metadata.geometry.clusterOffset(at), Long.toUnsignedString(count)));
      }
    }
  }

  /** Does it. */
  static void change(Metadata metadata, int bits, Progress progress) throws IOException {
    FreeTail.cut(metadata);
    var width = new RefcountWidth(metadata, progress);
    Header header = metadata.header();
    int order = Integer.numberOfTrailingZeros(bits);
    new RefcountRebuild(metadata.storage, header, order, width, width.end).run();
    metadata.setHeader(header.withRefcountOrder(order));
    width.discardOld();
  }

  private long[] structures() {
    PointerTable reftable = metadata.reftable;
    long first = geometry.clusterIndex(reftable.hostOffset());
    int clusters = (int) geometry.clusters((long) reftable.length() * Geometry.ENTRY_BYTES);
    long[] found = new long[clusters + reftable.length()];
    int count = 0;
    for (int i = 0; i < clusters; i++) {
      found[count++] = first + i;
    }
    for (int i = 0; i < reftable.length(); i++) {
      if (reftable.target(i) != 0) {
        found[count++] = geometry.clusterIndex(reftable.target(i));
      }
    }
    long[] sorted = Arrays.copyOf(found, count);
    Arrays.sort(sorted);
    return sorted;
  }

  @Override
  public long next(long from) throws IOException {
    if (from > told) {
      told = from;
      progress.at(Math.min(from, end), end + 1);
    }
    long at = metadata.counts.nextUsed(from);
    while (at >= 0 && count(at) == 0) {
      at = metadata.counts.nextUsed(at + 1);
    }
    return at;
  }

  /** A structure's own reference is gone; others, in an image with leaks, stay. */
  @Override
  public long count(long cluster) throws IOException {
    long count = metadata.counts.count(cluster);
    return count != 0 && Arrays.binarySearch(old, cluster) >= 0 ? count - 1 : count;
  }

  /** Gives the host space of the old structures back. They are free, whether that works or not. */
  private void discardOld() {
    try {
      // Which ones is looked up in the old structures: that comes first.
      long[] free = new long[old.length];
      int count = 0;
      for (long cluster : old) {
        if (count(cluster) == 0) {
          free[count++] = cluster;
        }
      }
      for (int i = 0; i < count; i++) {
        storage.discard(geometry.clusterOffset(free[i]), geometry.clusterSize());
      }
    } catch (IOException e) {
      return;
    }
  }
}
