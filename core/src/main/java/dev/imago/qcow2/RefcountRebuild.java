package dev.imago.qcow2;

import dev.imago.image.UnsupportedFeatureException;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.RefcountBlock;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Writes a new refcount table with new blocks for counts that are known.
 *
 * <p>They are written behind everything that is used; only when they are safe does the header lead
 * to them. A crash before leaves the image as it was; afterwards the old structures are free space.
 */
final class RefcountRebuild {
  private static final int POINTER_BYTES = 12;
  private static final int BATCH = 256 << 10;

  private final Storage storage;
  private final Header header;
  private final Geometry g;
  private final long fileSize;
  private final Counts counts;

  // The layout: a table, then blocks; the i-th block is the one of table entry blockIndexes[i].
  private final long start;
  private long tableClusters;
  private int[] blockIndexes = new int[0];

  /** What is to be counted, the refcount structures excepted. */
  interface Counts {
    /** The first cluster from here on with a count; -1 if there is none. */
    long next(long from) throws IOException;

    /** The count of a cluster, unsigned. */
    long count(long cluster) throws IOException;
  }

  /**
   * A rebuild to come, with counts as wide as they are.
   *
   * @param counts without those of refcount structures; counts too large for their width are stored
   *     as the largest that there is
   * @param start nothing is used from this cluster on
   */
  RefcountRebuild(Storage storage, Header header, Counts counts, long start) throws IOException {
    this(storage, header, header.refcountOrder(), counts, start);
  }

  /**
   * A rebuild to come, with counts of another width.
   *
   * @param refcountOrder for the new counts; the header's in version 2
   */
  RefcountRebuild(Storage storage, Header header, int refcountOrder, Counts counts, long start)
      throws IOException {
    this.storage = storage;
    this.header = header;
    Geometry old = header.geometry();
    this.g =
        new Geometry(
            old.clusterBits(), refcountOrder, old.version(), old.externalData(), old.extendedL2());
    this.fileSize = storage.size();
    this.counts = counts;
    this.start = start;
  }

  /**
   * Writes everything, switches the header over and flushes. If writing fails before the switch,
   * the file gets its old length again.
   */
  void run() throws IOException {
    layOut();
    try {
      writeBlocks();
      writeTable();
      storage.flush();
    } catch (IOException e) {
      giveBack(e);
      throw e;
    }
    switchOver();
    storage.flush();
  }

  /** One write within a sector, so that table and width never disagree. */
  private void switchOver() throws IOException {
    ByteBuffer pointer = ByteBuffer.allocate(POINTER_BYTES);
    if (g.refcountOrder() != header.refcountOrder()) {
      pointer = ByteBuffer.allocate(Header.AT_REFCOUNT_ORDER + 4 - Header.AT_REFTABLE);
      storage.read(pointer, Header.AT_REFTABLE);
      pointer.putInt(Header.AT_REFCOUNT_ORDER - Header.AT_REFTABLE, g.refcountOrder());
    }
    pointer.putLong(0, g.clusterOffset(start)).putInt(Long.BYTES, (int) tableClusters);
    storage.write(pointer.rewind(), Header.AT_REFTABLE);
  }

  /** Finds which blocks are needed, for all that is counted and for the new structures too. */
  private void layOut() throws IOException {
    int[] found = new int[16];
    int size = 0;
    for (long at = counts.next(0); at >= 0; ) {
      long index = g.reftableIndex(at);
      requireFits(index);
      if (size == found.length) {
        found = Arrays.copyOf(found, size * 2);
      }
      found[size++] = (int) index;
      at = counts.next(g.firstClusterOfBlock(index + 1));
    }
    int[] needed = Arrays.copyOf(found, size);
    long table = 1;
    while (true) {
      long end = start + table + needed.length;
      long last = g.reftableIndex(end - 1);
      requireFits(last);
      int[] more = withRange(needed, (int) g.reftableIndex(start), (int) last);
      long moreTable = g.clusters((last + 1) * Geometry.ENTRY_BYTES);
      if (more.length == needed.length && moreTable == table) {
        break;
      }
      needed = more;
      table = moreTable;
    }
    blockIndexes = needed;
    tableClusters = table;
  }

  private void requireFits(long index) throws UnsupportedFeatureException {
    if (index >= Geometry.MAX_REFTABLE_ENTRIES) {
      throw new UnsupportedFeatureException(
          storage.name(),
          Header.AT_REFTABLE,
          "refcount_table_offset",
          "the file is too long for a refcount table of 8 MiB, the longest allowed");
    }
  }

  /** Adds all numbers of a range that are behind the last one of {@code sorted}. */
  private static int[] withRange(int[] sorted, int first, int last) {
    int from = sorted.length == 0 ? first : Math.max(first, sorted[sorted.length - 1] + 1);
    int[] more = Arrays.copyOf(sorted, sorted.length + Math.max(0, last - from + 1));
    for (int i = sorted.length; i < more.length; i++) {
      more[i] = from + i - sorted.length;
    }
    return more;
  }

  private void writeBlocks() throws IOException {
    int perBatch = Math.max(1, BATCH / g.clusterSize());
    try (Buffers.Lease lease = Buffers.take(perBatch * g.clusterSize())) {
      for (int i = 0; i < blockIndexes.length; i += perBatch) {
        int now = Math.min(perBatch, blockIndexes.length - i);
        ByteBuffer batch = lease.buffer().clear().limit(now * g.clusterSize());
        Buffers.zero(batch);
        for (int j = 0; j < now; j++) {
          ByteBuffer block = batch.slice(j * g.clusterSize(), g.clusterSize());
          fill(block, g.firstClusterOfBlock(blockIndexes[i + j]));
        }
        storage.write(batch.flip(), g.clusterOffset(start + tableClusters + i));
      }
    }
  }

  private void fill(ByteBuffer block, long first) throws IOException {
    long last = first + g.refcountsPerBlock() - 1;
    for (long at = counts.next(first); at >= 0 && at <= Math.min(last, start - 1); ) {
      long count = counts.count(at);
      if (Long.compareUnsigned(count, g.maxRefcount()) > 0) {
        count = g.maxRefcount();
      }
      RefcountBlock.set(block, (int) (at - first), g.refcountOrder(), count);
      at = counts.next(at + 1);
    }
    long end = start + tableClusters + blockIndexes.length;
    for (long at = Math.max(first, start); at <= last && at < end; at++) {
      RefcountBlock.set(block, (int) (at - first), g.refcountOrder(), 1);
    }
  }

  private void writeTable() throws IOException {
    int bytes = (int) g.clusterOffset(tableClusters);
    ByteBuffer table = ByteBuffer.allocate(bytes);
    for (int i = 0; i < blockIndexes.length; i++) {
      table.putLong(
          blockIndexes[i] * Geometry.ENTRY_BYTES, g.clusterOffset(start + tableClusters + i));
    }
    storage.write(table, g.clusterOffset(start));
  }

  /** Nothing leads to what was written, so the file may have its old length again. */
  private void giveBack(IOException failure) {
    try {
      storage.resize(fileSize, Storage.Preallocation.OFF);
    } catch (IOException e) {
      failure.addSuppressed(e);
    }
  }
}
