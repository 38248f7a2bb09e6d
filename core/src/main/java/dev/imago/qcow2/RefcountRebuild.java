package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.RefcountBlock;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Set;

/**
 * Makes the reference counts of an image anew from what refers to what, for an image whose dirty
 * bit says that they may be stale.
 *
 * <p>New refcount blocks and a new table are written behind the end of the file; only when they are
 * safe does the header lead to them, and only then are COPIED flags set right and the dirty bit
 * cleared. A crash at any time leaves a dirty image, so that the next one begins again; at the end
 * the old structures are free space.
 */
final class RefcountRebuild {
  private static final int POINTER_BYTES = 12;
  private static final int BATCH = 256 << 10;

  private final Storage storage;
  private final Header header;
  private final Geometry g;
  private final long fileSize;
  private final TableReader reader;
  private final ReferenceWalk walk;
  private final ReferenceCounts counts;
  private final Findings findings = new Findings();

  // The layout: a table, then blocks; the i-th block is the one of table entry blockIndexes[i].
  private long start;
  private long tableClusters;
  private int[] blockIndexes = new int[0];

  private RefcountRebuild(Storage storage, TableReader reader, long fileSize) throws IOException {
    this.storage = storage;
    this.reader = reader;
    this.fileSize = fileSize;
    HeaderCluster cluster = HeaderReader.readForCheck(storage);
    header = cluster.header();
    g = header.geometry();
    walk = new ReferenceWalk(storage, cluster, fileSize, reader, findings);
    counts = walk.counts();
  }

  /**
   * Rebuilds all counts, sets COPIED flags of active tables right, clears the dirty bit, flushes.
   *
   * @param storage an image that nobody has open; its cached header is stale afterwards
   * @throws CorruptImageException if more than the counts is wrong; nothing was changed then
   */
  static void run(Storage storage) throws IOException {
    long fileSize = storage.size();
    try (TableReader reader = new TableReader(storage, fileSize)) {
      new RefcountRebuild(storage, reader, fileSize).run();
    }
  }

  private void run() throws IOException {
    count();
    layOut();
    try {
      writeBlocks();
      writeTable();
      storage.flush();
    } catch (IOException e) {
      giveBack(e);
      throw e;
    }
    ByteBuffer pointer = ByteBuffer.allocate(POINTER_BYTES);
    pointer.putLong(g.clusterOffset(start)).putInt((int) tableClusters);
    storage.write(pointer.flip(), Header.AT_REFTABLE);
    storage.flush();
    fixCopiedFlags();
    storage.flush();
    if (header.dirty()) {
      long clean = header.incompatible() & ~Header.INCOMPATIBLE_DIRTY;
      storage.write(ByteBuffer.allocate(8).putLong(clean).flip(), Header.AT_INCOMPATIBLE);
      storage.flush();
    }
  }

  private void count() throws IOException {
    walk.run(() -> {});
    if (findings.corruptions() + findings.errors() > 0) {
      throw corrupt("metadata", findings.lines().getFirst());
    }
    Set<Long> overlaps = walk.overlaps();
    if (!overlaps.isEmpty()) {
      throw corrupt(
          "metadata",
          "cluster %d holds metadata, but something else refers to it too"
              .formatted(overlaps.iterator().next()));
    }
  }

  private CorruptImageException corrupt(String field, String problem) {
    return new CorruptImageException(
        storage.name(),
        -1,
        field,
        problem,
        "open the image read-only to save its data; the dirty bit is set, but more is wrong than"
            + " reference counts");
  }

  /** Finds which blocks are needed, for all that is counted and for the new structures too. */
  private void layOut() throws UnsupportedFeatureException {
    start = walk.clusters();
    int[] found = new int[16];
    int size = 0;
    for (long at = nextCounted(0); at >= 0; ) {
      long index = g.reftableIndex(at);
      requireFits(index);
      if (size == found.length) {
        found = Arrays.copyOf(found, size * 2);
      }
      found[size++] = (int) index;
      at = nextCounted(g.firstClusterOfBlock(index + 1));
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

  /** The first cluster from here on with a count, or -1. */
  private long nextCounted(long from) {
    for (long at = from; at < counts.clusters(); at++) {
      if (counts.chunkIsEmpty(at)) {
        at = counts.nextChunk(at);
        if (at < 0) {
          return -1;
        }
      }
      if (counts.get(at) != 0) {
        return at;
      }
    }
    return -1;
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

  private void fill(ByteBuffer block, long first) throws CorruptImageException {
    long end = start + tableClusters + blockIndexes.length;
    for (int i = 0; i < g.refcountsPerBlock(); i++) {
      long number = first + i;
      if (number >= start) {
        RefcountBlock.set(block, i, g.refcountOrder(), number < end ? 1 : 0);
      } else if (!counts.chunkIsEmpty(number)) {
        int count = counts.get(number);
        if (Long.compareUnsigned(count, g.maxRefcount()) > 0) {
          throw corrupt(
              "refcount_order",
              "cluster %d has %d references, but counts have %d bits"
                  .formatted(number, count, g.refcountBits()));
        }
        RefcountBlock.set(block, i, g.refcountOrder(), count);
      }
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

  private void fixCopiedFlags() throws IOException {
    reader.words(
        header.l1TableOffset(),
        header.l1Size(),
        (index, word) -> {
          long hostOffset = word & Geometry.OFFSET_MASK;
          if (hostOffset != 0) {
            long right = withCopied(word, counts.get(g.clusterIndex(hostOffset)) == 1);
            if (right != word) {
              long at = header.l1TableOffset() + index * Geometry.ENTRY_BYTES;
              storage.write(ByteBuffer.allocate(8).putLong(right).flip(), at);
            }
          }
        });
    walk.l2Tables()
        .forEach(
            (hostOffset, times, active) -> {
              if (active && !reader.isHole(hostOffset, g.clusterSize())) {
                fixL2Table(hostOffset);
              }
            });
  }

  private void fixL2Table(long hostOffset) throws IOException {
    ByteBuffer table = reader.read(hostOffset, g.clusterSize());
    int width = g.l2EntryBytes();
    int from = table.limit();
    int to = 0;
    for (int at = 0; at < table.limit(); at += width) {
      long word = table.getLong(at);
      if ((word & Geometry.COMPRESSED) != 0 || !L2Walk.allocated(word, g)) {
        continue;
      }
      long target = g.clusterIndex(word & Geometry.OFFSET_MASK);
      long right = withCopied(word, g.externalData() || counts.get(target) == 1);
      if (right != word) {
        table.putLong(at, right);
        from = Math.min(from, at);
        to = at + 8;
      }
    }
    if (to > from) {
      storage.write(table.slice(from, to - from), hostOffset + from);
    }
  }

  private static long withCopied(long word, boolean copied) {
    return copied ? word | Geometry.COPIED : word & ~Geometry.COPIED;
  }
}
