package dev.imago.qcow2;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLongArray;
import org.jspecify.annotations.Nullable;

/**
 * Which host clusters hold live metadata, so that nothing else is ever written there. Asking takes
 * no lock; changing happens under the image's metadata lock.
 *
 * <p>Spec: qcow2 digest, 13.1, overlap check: all but the L2 tables of snapshots.
 */
final class MetadataMap {
  /** Clusters of one page: 4096, 64 words. */
  private static final int PAGE_BITS = 12;

  private final int clusterBits;
  private final ConcurrentHashMap<Long, AtomicLongArray> pages = new ConcurrentHashMap<>();

  MetadataMap(int clusterBits) {
    this.clusterBits = clusterBits;
  }

  void add(long hostOffset, long clusters) {
    long first = hostOffset >>> clusterBits;
    for (long cluster = first; cluster < first + clusters; cluster++) {
      AtomicLongArray page =
          pages.computeIfAbsent(
              cluster >>> PAGE_BITS, k -> new AtomicLongArray(1 << (PAGE_BITS - 6)));
      int word = word(cluster);
      page.set(word, page.get(word) | 1L << cluster);
    }
  }

  void remove(long hostOffset, long clusters) {
    long first = hostOffset >>> clusterBits;
    for (long cluster = first; cluster < first + clusters; cluster++) {
      AtomicLongArray page = pages.get(cluster >>> PAGE_BITS);
      if (page != null) {
        int word = word(cluster);
        page.set(word, page.get(word) & ~(1L << cluster));
      }
    }
  }

  /** Whether any byte of a range lies in live metadata. */
  boolean overlaps(long hostOffset, long length) {
    long last = hostOffset + length - 1 >>> clusterBits;
    @Nullable AtomicLongArray page = null;
    long pageOf = -1;
    for (long cluster = hostOffset >>> clusterBits; cluster <= last; cluster++) {
      if (cluster >>> PAGE_BITS != pageOf) {
        pageOf = cluster >>> PAGE_BITS;
        page = pages.get(pageOf);
      }
      if (page != null && (page.get(word(cluster)) >>> cluster & 1) != 0) {
        return true;
      }
    }
    return false;
  }

  private static int word(long cluster) {
    return (int) (cluster & ((1 << PAGE_BITS) - 1)) >>> 6;
  }
}
