package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.RefcountBlock;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;

/**
 * Lays the counts that an image stores beside those that were counted, in ascending order, with
 * quick ways for what agrees. Reads only.
 */
final class CountComparison {
  /** Bits of a refcount table entry that must be 0. */
  static final long RESERVED = 0x1ff;

  private static final long[] FOUR_COUNTS = fourCounts();

  private final Geometry g;
  private final TableReader reader;
  private final long[] reftable;
  private final ReferenceCounts counts;
  private final long clusters;
  private final Judge judge;
  private long highestCluster = -1;

  /** Told of what does not agree. It may change the counted number of that cluster. */
  interface Judge {
    /** A cluster is stored with another count, unsigned, than was counted. */
    void differs(long number, long stored, int counted) throws IOException;

    /** The block for these clusters cannot be read. */
    default void unreadable(long first, long last) {}

    /** One block has been looked at. */
    default void tick() {}
  }

  /**
   * A comparison to come.
   *
   * @param reftable the refcount table's entries
   * @param clusters how many clusters there are to compare
   */
  CountComparison(
      Geometry g,
      TableReader reader,
      long[] reftable,
      ReferenceCounts counts,
      long clusters,
      Judge judge) {
    this.g = g;
    this.reader = reader;
    this.reftable = reftable;
    this.counts = counts;
    this.clusters = clusters;
    this.judge = judge;
  }

  /** The last cluster that either side counts; -1 if there is none. */
  long highestCluster() {
    return highestCluster;
  }

  /** Compares everything. */
  void run() throws IOException {
    Set<Long> twice = repeatedBlocks();
    Set<Long> seen = new HashSet<>();
    long blocks = Math.min(reftable.length, g.reftableIndex(clusters - 1) + 1);
    for (int i = 0; i < blocks; i++) {
      long first = g.firstClusterOfBlock(i);
      long end = Math.min(first + g.refcountsPerBlock(), clusters);
      long hostOffset = reftable[i] & ~RESERVED;
      if (hostOffset == 0 || reader.isHole(hostOffset, g.clusterSize())) {
        compareWithZero(first, end);
      } else if (g.inCluster(hostOffset) != 0) {
        judge.unreadable(first, end - 1);
      } else {
        ByteBuffer block = reader.read(hostOffset, g.clusterSize());
        boolean again = twice.contains(hostOffset) && !seen.add(hostOffset);
        compare(block, first, end, again);
      }
      judge.tick();
    }
    compareWithZero(g.firstClusterOfBlock(blocks), clusters);
  }

  /** Blocks to which several table entries lead. */
  private Set<Long> repeatedBlocks() {
    long[] sorted = reftable.clone();
    Arrays.sort(sorted);
    Set<Long> repeated = new HashSet<>();
    for (int i = 1; i < sorted.length; i++) {
      if (sorted[i] != 0 && sorted[i] == sorted[i - 1]) {
        repeated.add(sorted[i] & ~RESERVED);
      }
    }
    return repeated;
  }

  private void compareWithZero(long first, long end) throws IOException {
    for (long at = nextChunk(first); at >= 0 && at < end; at = nextChunk(chunkEnd(at))) {
      for (long number = at; number < Math.min(end, chunkEnd(at)); number++) {
        compare(number, 0);
      }
    }
  }

  /**
   * Compares with a block's counts.
   *
   * @param again whether another table entry led to this block: its leaks are not told again
   */
  private void compare(ByteBuffer block, long first, long end, boolean again) throws IOException {
    for (long at = again ? nextChunk(first) : first; at >= 0 && at < end; ) {
      long stop = Math.min(end, chunkEnd(at));
      if (again || !counts.chunkIsEmpty(at) || !allZero(block, at - first, stop - first)) {
        if (!sameChunk(block, (int) (at - first), at, stop)) {
          for (long number = at; number < stop; number++) {
            compare(number, RefcountBlock.get(block, (int) (number - first), g.refcountOrder()));
          }
        }
      }
      at = again ? nextChunk(stop) : stop;
    }
  }

  /** Whether a whole chunk is as it should be, found out in the quick way for 16-bit counts. */
  private boolean sameChunk(ByteBuffer block, int from, long first, long end) {
    byte[] chunk = counts.narrowChunk(first);
    if (chunk == null || g.refcountOrder() != 4 || end - first != ReferenceCounts.CHUNK) {
      return false;
    }
    for (int i = 0; i < chunk.length; i++) {
      if (block.getLong(from * 2 + i * 8) != FOUR_COUNTS[chunk[i] & 0xff]) {
        return false;
      }
    }
    for (int i = ReferenceCounts.CHUNK - 1; i >= 0; i--) {
      if ((chunk[i >>> 2] >>> (i & 3) * 2 & 3) != 0) {
        highestCluster = Math.max(highestCluster, first + i);
        return true;
      }
    }
    return true;
  }

  /** The word of four 16-bit counts for each byte of four 2-bit counts. */
  private static long[] fourCounts() {
    long[] words = new long[256];
    for (int i = 0; i < words.length; i++) {
      words[i] = (i & 3L) << 48 | (i >>> 2 & 3L) << 32 | (i >>> 4 & 3L) << 16 | i >>> 6;
    }
    return words;
  }

  private void compare(long number, long stored) throws IOException {
    int counted = counts.get(number);
    if (counted != 0 || stored != 0) {
      highestCluster = Math.max(highestCluster, number);
    }
    if (stored != counted) {
      judge.differs(number, stored, counted);
    }
  }

  private boolean allZero(ByteBuffer block, long from, long to) {
    int order = g.refcountOrder();
    int at = (int) (from << order >>> 3);
    int end = (int) ((to << order) + 7 >>> 3);
    for (; at + 8 <= end; at += 8) {
      if (block.getLong(at) != 0) {
        return false;
      }
    }
    for (; at < end; at++) {
      if (block.get(at) != 0) {
        return false;
      }
    }
    return true;
  }

  private long nextChunk(long from) {
    // A block of few counts may begin within a chunk.
    return counts.chunkIsEmpty(from) ? counts.nextChunk(from) : from;
  }

  private static long chunkEnd(long number) {
    return (number | ReferenceCounts.CHUNK - 1) + 1;
  }
}
