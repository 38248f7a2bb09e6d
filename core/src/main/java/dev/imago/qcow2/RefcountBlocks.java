package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Makes refcount blocks and longer refcount tables where counts are needed, and moves them.
 *
 * <p>New blocks and tables are zeroed on the disk when they are made, which nothing points to yet,
 * so making them never needs a flush. Methods are called without the metadata lock.
 *
 * <p>Spec: qcow2 digest, 5 and 12.1.
 */
final class RefcountBlocks {
  private final String name;
  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final PointerTable reftable;
  private final SliceCache slices;
  private final HostCounts counts;
  private final MetadataMap map;
  private final Quarantine quarantine;

  /** Held while a refcount block or table is made; taken before the metadata lock. */
  private final ReentrantLock growing = new ReentrantLock();

  RefcountBlocks(
      String name,
      ReentrantLock metadata,
      Geometry geometry,
      Storage storage,
      PointerTable reftable,
      SliceCache slices,
      HostCounts counts,
      MetadataMap map,
      Quarantine quarantine) {
    this.name = name;
    this.metadata = metadata;
    this.geometry = geometry;
    this.storage = storage;
    this.reftable = reftable;
    this.slices = slices;
    this.counts = counts;
    this.map = map;
    this.quarantine = quarantine;
  }

  /**
   * Makes the refcount block that covers a cluster, at that cluster: it counts itself.
   *
   * <p>No other thread can take clusters of its range meanwhile, because without a block there is
   * nothing to take, and blocks are made one at a time.
   */
  void make(long cluster) throws IOException {
    growing.lock();
    try {
      long index = geometry.reftableIndex(cluster);
      if (reftable.target(index) != 0) {
        return;
      }
      if (index >= reftable.length()) {
        growTable(index);
        return;
      }
      requireNoMetadata(cluster, 1);
      storage.event(BlockEvent.REFBLOCK_ALLOC);
      storage.event(BlockEvent.REFBLOCK_ALLOC_WRITE);
      storage.writeZeroes(
          geometry.clusterOffset(cluster), geometry.clusterSize(), Storage.ZeroMode.ALLOCATED);
      metadata.lock();
      try {
        reftable.set((int) index, geometry.clusterOffset(cluster));
        map.add(geometry.clusterOffset(cluster), 1);
        counts.takeNew(cluster, 1);
      } finally {
        metadata.unlock();
      }
    } finally {
      growing.unlock();
    }
  }

  /**
   * Takes clusters that no block counts yet, behind all that are counted: first come the blocks for
   * all of them, then the clusters, so that nothing is in between.
   *
   * @param count of clusters beside those of the blocks; they follow one another
   */
  Allocator.Taken makeFor(long count) throws IOException {
    long perBlock = geometry.refcountsPerBlock();
    long blocks = (count + perBlock - 2) / (perBlock - 1);
    growing.lock();
    try {
      int first = firstUnused();
      while (first + blocks > reftable.length()) {
        growTable(reftable.length());
        first = firstUnused();
      }
      long area = geometry.firstClusterOfBlock(first);
      counts.requireReachable(area + blocks + count);
      requireNoMetadata(area, blocks + count);
      storage.writeZeroes(
          geometry.clusterOffset(area), geometry.clusterOffset(blocks), Storage.ZeroMode.ALLOCATED);
      metadata.lock();
      try {
        for (int i = 0; i < blocks; i++) {
          reftable.set(first + i, geometry.clusterOffset(area + i));
        }
        map.add(geometry.clusterOffset(area), blocks);
        boolean untouched = counts.takeNew(area, blocks + count);
        return new Allocator.Taken(area + blocks, count, untouched);
      } finally {
        metadata.unlock();
      }
    } finally {
      growing.unlock();
    }
  }

  /** The entry of the refcount table behind the last one that leads to a block. */
  private int firstUnused() {
    int end = reftable.length();
    while (end > 0 && reftable.target(end - 1) == 0) {
      end--;
    }
    return end;
  }

  /**
   * Makes a longer refcount table, and the blocks that count it, all at the start of the range that
   * the old table could not reach.
   */
  private void growTable(long neededIndex) throws IOException {
    long oldLength = reftable.length();
    long firstBlock = Math.max(oldLength, neededIndex);
    long area = geometry.firstClusterOfBlock(firstBlock);
    int perCluster = geometry.l2Entries();
    long tableClusters = geometry.clusters(oldLength * Geometry.ENTRY_BYTES);
    tableClusters += Math.max(1, tableClusters / 2);
    long blocks;
    while (true) {
      blocks = 1;
      while (blocks * geometry.refcountsPerBlock() < blocks + tableClusters) {
        blocks++;
      }
      long needed = (firstBlock + blocks + perCluster - 1) / perCluster;
      if (needed <= tableClusters) {
        break;
      }
      tableClusters = needed;
    }
    if (tableClusters * perCluster > Geometry.MAX_REFTABLE_ENTRIES
        && firstBlock + blocks > Geometry.MAX_REFTABLE_ENTRIES) {
      throw new IOException(
          "%s: File too large: the refcount table would need more than %d entries"
              .formatted(name, Geometry.MAX_REFTABLE_ENTRIES));
    }
    tableClusters =
        Math.min(tableClusters, Math.max(1, Geometry.MAX_REFTABLE_ENTRIES / perCluster));
    requireNoMetadata(area, blocks + tableClusters);
    storage.event(BlockEvent.REFTABLE_GROW);
    storage.event(BlockEvent.REFBLOCK_ALLOC_WRITE_BLOCKS);
    storage.writeZeroes(
        geometry.clusterOffset(area),
        geometry.clusterOffset(blocks + tableClusters),
        Storage.ZeroMode.ALLOCATED);

    long[] longer = new long[(int) (tableClusters * perCluster)];
    metadata.lock();
    try {
      for (int i = 0; i < oldLength; i++) {
        longer[i] = reftable.get(i);
      }
      for (int i = 0; i < blocks; i++) {
        longer[(int) firstBlock + i] = geometry.clusterOffset(area + i);
      }
      long oldHostOffset = reftable.hostOffset();
      long oldClusters = geometry.clusters(oldLength * Geometry.ENTRY_BYTES);
      reftable.moveTo(geometry.clusterOffset(area + blocks), longer);
      slices.grow();
      counts.takeNew(area, blocks + tableClusters);
      map.add(geometry.clusterOffset(area), blocks + tableClusters);
      map.remove(oldHostOffset, oldClusters);
      quarantine.add(geometry.clusterIndex(oldHostOffset), oldClusters);
    } finally {
      metadata.unlock();
    }
  }

  private void requireNoMetadata(long firstCluster, long count) throws CorruptImageException {
    if (map.overlaps(geometry.clusterOffset(firstCluster), geometry.clusterOffset(count))) {
      throw new CorruptImageException(
          name,
          geometry.clusterOffset(firstCluster),
          "refcount table",
          "no refcount block for a cluster that holds metadata; it must be counted",
          "run a check; the refcounts need a repair");
    }
  }

  /**
   * Moves a refcount block to a cluster that was taken for it. What is cached of it goes there with
   * the next flush; until then the disk uses the old one, which knows nothing of what was taken
   * since the last flush.
   */
  void move(int index, long newCluster) throws IOException {
    growing.lock();
    try {
      long old = reftable.target(index);
      ByteBuffer block = ByteBuffer.allocate(geometry.clusterSize());
      storage.read(block, old);
      storage.write(block.flip(), geometry.clusterOffset(newCluster));
      metadata.lock();
      try {
        reftable.set(index, geometry.clusterOffset(newCluster));
        map.add(geometry.clusterOffset(newCluster), 1);
        map.remove(old, 1);
        quarantine.add(geometry.clusterIndex(old), 1);
      } finally {
        metadata.unlock();
      }
    } finally {
      growing.unlock();
    }
  }

  /** Gives up a refcount block, which counts nothing. */
  void drop(int index) {
    metadata.lock();
    try {
      long old = reftable.target(index);
      slices.drop(index);
      reftable.set(index, 0);
      map.remove(old, 1);
      quarantine.add(geometry.clusterIndex(old), 1);
    } finally {
      metadata.unlock();
    }
  }

  /** Goes on with the refcount table in clusters that were taken for it. */
  void moveTable(long firstCluster) {
    metadata.lock();
    try {
      long old = reftable.hostOffset();
      long clusters = geometry.clusters((long) reftable.length() * Geometry.ENTRY_BYTES);
      reftable.moveTo(geometry.clusterOffset(firstCluster), reftable.entries().clone());
      map.add(geometry.clusterOffset(firstCluster), clusters);
      map.remove(old, clusters);
      quarantine.add(geometry.clusterIndex(old), clusters);
    } finally {
      metadata.unlock();
    }
  }
}
