package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Hands out host clusters and counts their references.
 *
 * <p>Counts change in the cache only; {@link Durability} writes them before anything that relies on
 * them. New refcount blocks and tables are zeroed on the disk when they are taken, which nothing
 * points to yet, so taking clusters never needs a flush. Nothing is loaded while the metadata lock
 * is held: a scan that lacks a slice steps out, loads it and begins again where it was.
 *
 * <p>Spec: qcow2 digest, 5 and 12.1.
 */
final class Allocator {
  private final String name;
  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final PointerTable reftable;
  private final SliceCache counts;
  private final SliceCache.Cleaner cleaner;
  private final MetadataMap map;
  private final Quarantine quarantine;
  private final CompressedTail tail;
  private final boolean reuse;

  /** Held while a refcount block or table is made; taken before the metadata lock. */
  private final ReentrantLock growing = new ReentrantLock();

  /** No cluster below this one is free. */
  private long firstFree = 1;

  /** Nothing was ever written to this cluster or those behind it. */
  private long untouched;

  /** Whether any count was changed. Under the metadata lock. */
  private boolean changed;

  Allocator(
      String name,
      ReentrantLock metadata,
      Geometry geometry,
      Storage storage,
      PointerTable reftable,
      SliceCache counts,
      SliceCache.Cleaner cleaner,
      MetadataMap map,
      Quarantine quarantine,
      CompressedTail tail,
      boolean reuse)
      throws IOException {
    this.name = name;
    this.metadata = metadata;
    this.geometry = geometry;
    this.storage = storage;
    this.reftable = reftable;
    this.counts = counts;
    this.cleaner = cleaner;
    this.map = map;
    this.quarantine = quarantine;
    this.tail = tail;
    this.reuse = reuse;
    this.untouched = geometry.clusters(storage.size());
  }

  /**
   * A run of host clusters whose counts were raised to 1.
   *
   * @param untouched whether nothing was ever written there, so that it reads as zero
   */
  record Taken(long firstCluster, long count, boolean untouched) {
    /** The cluster behind the last. */
    long end() {
      return firstCluster + count;
    }
  }

  /**
   * Takes free clusters that follow one another: as many as wanted, or fewer if the first free
   * place is smaller.
   *
   * @param wanted at least 1
   */
  Taken take(long wanted) throws IOException {
    storage.event(BlockEvent.CLUSTER_ALLOC);
    return Objects.requireNonNull(take(wanted, 0, true));
  }

  /** Takes exactly so many clusters that follow one another, for a table. */
  Taken takeTogether(long count) throws IOException {
    // A new block lies in the range that it counts: no such range can hold so many clusters.
    boolean mayGrow = count < geometry.refcountsPerBlock();
    Taken run = take(count, 0, mayGrow);
    while (run != null && run.count < count) {
      @Nullable Taken more;
      try {
        more = take(count - run.count, run.end(), mayGrow);
      } catch (IOException | RuntimeException e) {
        giveBack(run.firstCluster, run.count);
        throw e;
      }
      if (more == null) {
        giveBack(run.firstCluster, run.count);
        run = null;
      } else if (more.firstCluster == run.end()) {
        run = new Taken(run.firstCluster, run.count + more.count, run.untouched && more.untouched);
      } else {
        giveBack(run.firstCluster, run.count);
        run = more;
      }
    }
    return run != null ? run : takeBehindItsBlocks(count);
  }

  /**
   * Takes clusters that no block counts yet, behind all that are counted: first come the blocks for
   * all of them, then the clusters, so that nothing is in between.
   */
  private Taken takeBehindItsBlocks(long count) throws IOException {
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
      requireReachable(area + blocks + count);
      requireNoMetadata(area, blocks + count);
      storage.writeZeroes(
          geometry.clusterOffset(area), geometry.clusterOffset(blocks), Storage.ZeroMode.ALLOCATED);
      metadata.lock();
      try {
        boolean fresh = area >= untouched;
        for (int i = 0; i < blocks; i++) {
          reftable.set(first + i, geometry.clusterOffset(area + i));
        }
        map.add(geometry.clusterOffset(area), blocks);
        countNew(area, blocks + count);
        return new Taken(area + blocks, count, fresh);
      } finally {
        metadata.unlock();
      }
    } finally {
      growing.unlock();
    }
  }

  /**
   * Takes one certain cluster.
   *
   * @return false if it is in use, or no refcount block covers it yet
   */
  boolean takeExactly(long cluster) throws IOException {
    while (true) {
      if (requireSlice(cluster) == null) {
        return false;
      }
      metadata.lock();
      try {
        Slice slice = peek(cluster);
        if (slice != null) {
          boolean free = count(slice, cluster) == 0;
          if (free) {
            mark(cluster, 1);
          }
          return free;
        }
      } finally {
        metadata.unlock();
      }
    }
  }

  /**
   * Counts one reference more to the cluster of {@link CompressedTail}, if that is still at this
   * place.
   *
   * @return false if it is not, or if the count cannot be higher
   */
  boolean addReference(CompressedTail.At place) throws IOException {
    long cluster = geometry.clusterIndex(place.hostOffset());
    while (true) {
      if (requireSlice(cluster) == null) {
        throw uncounted(cluster);
      }
      metadata.lock();
      try {
        if (!tail.isAt(place)) {
          return false;
        }
        if (peek(cluster) != null) {
          long now = countOf(cluster);
          if (now == geometry.maxRefcount()) {
            return false;
          }
          setCount(cluster, now + 1);
          return true;
        }
      } finally {
        metadata.unlock();
      }
    }
  }

  /** Null if there would have to be another refcount block first, and that is not wanted. */
  private @Nullable Taken take(long wanted, long from, boolean mayGrow) throws IOException {
    while (true) {
      Scan scan;
      metadata.lock();
      try {
        scan = scan(Math.max(from, firstFree), wanted);
        if (scan.length > 0) {
          return mark(scan.start, scan.length);
        }
      } finally {
        metadata.unlock();
      }
      if (scan.blockMissing && !mayGrow) {
        return null;
      }
      if (scan.blockMissing) {
        makeBlock(scan.start);
      } else {
        requireSlice(scan.start);
      }
    }
  }

  /**
   * Free clusters, or what was missing to find them.
   *
   * @param start the first free cluster, or the one whose count is not at hand
   * @param length 0 if something is missing
   */
  private record Scan(long start, long length, boolean blockMissing) {}

  /** Looks for free clusters from {@code from} on. Under the metadata lock. */
  private Scan scan(long from, long wanted) {
    boolean moveFirstFree = from == firstFree;
    long start = from;
    long length = 0;
    while (length < wanted) {
      long cluster = start + length;
      Slice slice = peek(cluster);
      if (slice == null) {
        boolean blockMissing = reftable.target(geometry.reftableIndex(cluster)) == 0;
        return new Scan(start, length, blockMissing);
      }
      long sliceEnd = (cluster / geometry.refcountsPerSlice() + 1) * geometry.refcountsPerSlice();
      while (cluster < sliceEnd && length < wanted) {
        if (count(slice, cluster) == 0) {
          length++;
          cluster++;
        } else if (length > 0) {
          return new Scan(start, length, false);
        } else {
          cluster = nextCandidate(slice, cluster, sliceEnd);
          start = cluster;
          if (moveFirstFree) {
            firstFree = cluster;
          }
        }
      }
    }
    return new Scan(start, length, false);
  }

  /** Skips a used cluster, and whole words without a zero byte: there every count is used. */
  private long nextCandidate(Slice slice, long cluster, long sliceEnd) {
    if (geometry.refcountOrder() != 4) {
      return cluster + 1;
    }
    long next = cluster + 1;
    while (next < sliceEnd
        && (next & 3) == 0
        && noZeroShort(slice.word(geometry.refcountWord(next)))) {
      next += 4;
    }
    return next;
  }

  private static boolean noZeroShort(long word) {
    return (word - 0x0001_0001_0001_0001L & ~word & 0x8000_8000_8000_8000L) == 0;
  }

  private Taken mark(long start, long length) throws IOException {
    requireReachable(start + length);
    if (map.overlaps(geometry.clusterOffset(start), geometry.clusterOffset(length))) {
      throw new CorruptImageException(
          name,
          geometry.clusterOffset(start),
          "refcount",
          "0 for a cluster that holds metadata; it must be counted",
          "run a check; the refcounts need a repair");
    }
    for (long cluster = start; cluster < start + length; cluster++) {
      setCount(cluster, 1);
    }
    if (start == firstFree) {
      firstFree = start + length;
    }
    boolean fresh = start >= untouched;
    untouched = Math.max(untouched, start + length);
    return new Taken(start, length, fresh);
  }

  private void requireReachable(long endCluster) throws IOException {
    if (endCluster > Geometry.MAX_HOST_OFFSET >>> geometry.clusterBits()) {
      throw new IOException(name + ": File too large: no host offset above 2^56 can be used");
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

  /** Gives clusters back that nothing was ever linked to. */
  void giveBack(long firstCluster, long count) throws IOException {
    storage.event(BlockEvent.CLUSTER_FREE);
    lower(firstCluster, count, false);
  }

  /**
   * Drops one reference of each cluster of a run that has left quarantine. What becomes free is
   * given back to the host before anybody can take it.
   */
  void release(long firstCluster, long count) throws IOException {
    lower(firstCluster, count, true);
  }

  private void lower(long firstCluster, long count, boolean punch) throws IOException {
    long cluster = firstCluster;
    long end = firstCluster + count;
    while (cluster < end) {
      long perSlice = geometry.refcountsPerSlice();
      long sliceEnd = Math.min(end, (cluster / perSlice + 1) * perSlice);
      if (punch) {
        punch(cluster, sliceEnd);
      }
      while (true) {
        if (requireSlice(cluster) == null) {
          throw uncounted(cluster);
        }
        metadata.lock();
        try {
          if (peek(cluster) != null) {
            for (long each = cluster; each < sliceEnd; each++) {
              lowerOne(each);
            }
            break;
          }
        } finally {
          metadata.unlock();
        }
      }
      cluster = sliceEnd;
    }
  }

  private void lowerOne(long cluster) throws CorruptImageException {
    long now = countOf(cluster);
    if (now == 0) {
      throw uncounted(cluster);
    }
    setCount(cluster, now - 1);
    tail.forget(cluster, 1);
    if (now == 1 && reuse) {
      firstFree = Math.min(firstFree, cluster);
    }
  }

  /** The count of a cluster, unsigned; 0 where nothing is counted yet. */
  long count(long cluster) throws IOException {
    Slice slice = requireSlice(cluster);
    return slice == null ? 0 : count(slice, cluster);
  }

  /** Adds to the count of a cluster that is and stays in use. The caller knows that it fits. */
  void add(long cluster, long references) throws IOException {
    while (true) {
      if (requireSlice(cluster) == null) {
        throw uncounted(cluster);
      }
      metadata.lock();
      try {
        if (peek(cluster) != null) {
          setCount(cluster, countOf(cluster) + references);
          return;
        }
      } finally {
        metadata.unlock();
      }
    }
  }

  private CorruptImageException uncounted(long cluster) {
    return new CorruptImageException(
        name,
        geometry.clusterOffset(cluster),
        "refcount",
        "0 for a cluster that was in use; it must be at least 1",
        "run a check; the refcounts need a repair");
  }

  /** Drops references without quarantine. Only for proving that a test would notice. */
  void lowerAtOnce(long firstCluster, long count) {
    for (long cluster = firstCluster; cluster < firstCluster + count; cluster++) {
      if (peek(cluster) != null && countOf(cluster) > 0) {
        setCount(cluster, countOf(cluster) - 1);
        tail.forget(cluster, 1);
        firstFree = Math.min(firstFree, cluster);
      }
    }
  }

  /** Punches, in merged runs, what one reference less makes free. All in one slice of counts. */
  private void punch(long from, long end) throws IOException {
    Slice slice = requireSlice(from);
    if (slice == null) {
      throw uncounted(from);
    }
    long start = -1;
    for (long cluster = from; cluster <= end; cluster++) {
      boolean last = cluster < end && count(slice, cluster) == 1;
      if (last && start < 0) {
        start = cluster;
      } else if (!last && start >= 0) {
        storage.discard(geometry.clusterOffset(start), geometry.clusterOffset(cluster - start));
        start = -1;
      }
    }
  }

  private @Nullable Slice requireSlice(long cluster) throws IOException {
    return counts.load(geometry.reftableIndex(cluster), geometry.refcountSlice(cluster), cleaner);
  }

  private @Nullable Slice peek(long cluster) {
    return counts.peek(geometry.reftableIndex(cluster), geometry.refcountSlice(cluster));
  }

  private long count(Slice slice, long cluster) {
    return slice.word(geometry.refcountWord(cluster)) >>> geometry.refcountShift(cluster)
        & geometry.maxRefcount();
  }

  /** A count whose slice is resident. Under the metadata lock. */
  private long countOf(long cluster) {
    Slice slice = peek(cluster);
    return slice == null ? 0 : count(slice, cluster);
  }

  /** Sets a count whose slice is resident. Under the metadata lock. */
  private void setCount(long cluster, long count) {
    Slice slice = peek(cluster);
    if (slice == null) {
      throw new IllegalStateException("refcount slice of cluster " + cluster + " is not loaded");
    }
    changed = true;
    int word = geometry.refcountWord(cluster);
    int shift = geometry.refcountShift(cluster);
    long mask = geometry.maxRefcount() << shift;
    counts.set(slice, word, slice.word(word) & ~mask | count << shift);
  }

  /**
   * Makes the refcount block that covers a cluster, at that cluster: it counts itself.
   *
   * <p>No other thread can take clusters of its range meanwhile, because without a block there is
   * nothing to take, and blocks are made one at a time.
   */
  private void makeBlock(long cluster) throws IOException {
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
        countNew(cluster, 1);
      } finally {
        metadata.unlock();
      }
    } finally {
      growing.unlock();
    }
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
      counts.grow();
      countNew(area, blocks + tableClusters);
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

  /** Counts the clusters of new, zeroed blocks. Under the metadata lock. */
  private void countNew(long firstCluster, long count) {
    for (long cluster = firstCluster; cluster < firstCluster + count; cluster++) {
      if (peek(cluster) == null) {
        counts.addZero((int) geometry.reftableIndex(cluster), geometry.refcountSlice(cluster));
      }
      setCount(cluster, 1);
    }
    untouched = Math.max(untouched, firstCluster + count);
  }

  /** Whether any count was changed since the image was opened. */
  boolean changed() {
    metadata.lock();
    try {
      return changed;
    } finally {
      metadata.unlock();
    }
  }

  /** The cluster behind the last counted one of the first {@code clusters}. */
  long usedEnd(long clusters) throws IOException {
    for (long end = clusters; end > 0; ) {
      long first = geometry.firstClusterOfBlock(geometry.reftableIndex(end - 1));
      first =
          Math.max(first, (end - 1) / geometry.refcountsPerSlice() * geometry.refcountsPerSlice());
      Slice slice = requireSlice(end - 1);
      if (slice == null) {
        first = geometry.firstClusterOfBlock(geometry.reftableIndex(end - 1));
      }
      for (; slice != null && end > first; end--) {
        if (count(slice, end - 1) != 0) {
          return end;
        }
      }
      end = first;
    }
    return 0;
  }

  /** The first counted cluster from this one on; -1 if there is none. */
  long nextUsed(long from) throws IOException {
    long end = geometry.firstClusterOfBlock(reftable.length());
    for (long cluster = from; cluster < end; ) {
      Slice slice = requireSlice(cluster);
      if (slice == null) {
        cluster = geometry.firstClusterOfBlock(geometry.reftableIndex(cluster) + 1);
        continue;
      }
      long sliceEnd = (cluster / geometry.refcountsPerSlice() + 1) * geometry.refcountsPerSlice();
      for (; cluster < sliceEnd; cluster++) {
        if (count(slice, cluster) != 0) {
          return cluster;
        }
      }
    }
    return -1;
  }

  /** How many of the first {@code clusters} are counted. */
  long used(long clusters) throws IOException {
    long used = 0;
    for (long cluster = 0; cluster < clusters; ) {
      Slice slice = requireSlice(cluster);
      long end =
          slice != null
              ? (cluster / geometry.refcountsPerSlice() + 1) * geometry.refcountsPerSlice()
              : geometry.firstClusterOfBlock(geometry.reftableIndex(cluster) + 1);
      for (; slice != null && cluster < Math.min(end, clusters); cluster++) {
        used += count(slice, cluster) != 0 ? 1 : 0;
      }
      cluster = end;
    }
    return used;
  }

  /**
   * Moves a refcount block to a cluster that was taken for it. What is cached of it goes there with
   * the next flush; until then the disk uses the old one, which knows nothing of what was taken
   * since the last flush.
   */
  void moveBlock(int index, long newCluster) throws IOException {
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
  void dropBlock(int index) {
    metadata.lock();
    try {
      long old = reftable.target(index);
      counts.drop(index);
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

  /** Forgets what was learnt of free places, because someone else may have taken them. */
  void reset() throws IOException {
    firstFree = 1;
    tail.forgetAll();
    untouched = geometry.clusters(storage.size());
  }
}
