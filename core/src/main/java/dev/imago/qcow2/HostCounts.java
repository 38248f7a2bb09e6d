package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.LongBuffer;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * The reference count of each host cluster. Counts change in the cache only; {@link Durability}
 * writes them before anything that relies on them.
 *
 * <p>A count can be changed while its slice is at hand. Nothing is loaded while the metadata lock
 * is held: who finds no slice steps out, {@linkplain #load loads} it and looks again, because it
 * may have been thrown out meanwhile.
 *
 * <p>Spec: qcow2 digest, 5.
 */
final class HostCounts {
  /** The most that is read at once to find a free place, in bytes. */
  private static final int LOOK_AHEAD = 256 << 10;

  /** Words that are looked at in one go. */
  private static final int STRETCH = 64;

  private final String name;
  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final PointerTable reftable;
  private final SliceCache slices;
  private final SliceCache.Cleaner cleaner;

  /** Nothing was ever written to this cluster or those behind it. Under the metadata lock. */
  private long untouched;

  /** Whether any count was changed. Under the metadata lock. */
  private boolean changed;

  HostCounts(
      String name,
      ReentrantLock metadata,
      Geometry geometry,
      Storage storage,
      PointerTable reftable,
      SliceCache slices,
      SliceCache.Cleaner cleaner)
      throws IOException {
    this.name = name;
    this.metadata = metadata;
    this.geometry = geometry;
    this.storage = storage;
    this.reftable = reftable;
    this.slices = slices;
    this.cleaner = cleaner;
    this.untouched = geometry.clusters(storage.size());
  }

  /** The count of a cluster, unsigned; 0 where nothing is counted yet. */
  long count(long cluster) throws IOException {
    Slice slice = load(cluster);
    return slice == null ? 0 : count(slice, cluster);
  }

  /** Adds to the count of a cluster that is and stays in use. The caller knows that it fits. */
  void add(long cluster, long references) throws IOException {
    while (true) {
      require(cluster);
      metadata.lock();
      try {
        if (peek(cluster) != null) {
          set(cluster, now(cluster) + references);
          return;
        }
      } finally {
        metadata.unlock();
      }
    }
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

  /** Forgets which clusters are untouched, because someone else may have written to them. */
  void reset() throws IOException {
    untouched = geometry.clusters(storage.size());
  }

  /** Whether there is a refcount block that counts a cluster. */
  boolean covered(long cluster) {
    return reftable.target(geometry.reftableIndex(cluster)) != 0;
  }

  /** The slice of a cluster's count, loaded if need be; null if no refcount block counts it. */
  @Nullable Slice load(long cluster) throws IOException {
    return slices.load(geometry.reftableIndex(cluster), geometry.refcountSlice(cluster), cleaner);
  }

  /** Loads the slice of the count of a cluster that must be counted. */
  Slice require(long cluster) throws IOException {
    Slice slice = load(cluster);
    if (slice == null) {
      throw uncounted(cluster);
    }
    return slice;
  }

  /** The slice of a cluster's count if it is at hand. */
  @Nullable Slice peek(long cluster) {
    return slices.peek(geometry.reftableIndex(cluster), geometry.refcountSlice(cluster));
  }

  /** The cluster behind the last one that is counted in the slice of this one. */
  long sliceEnd(long cluster) {
    return (cluster / geometry.refcountsPerSlice() + 1) * geometry.refcountsPerSlice();
  }

  /** A cluster's count, in its slice. */
  long count(Slice slice, long cluster) {
    return slice.word(geometry.refcountWord(cluster)) >>> geometry.refcountShift(cluster)
        & geometry.maxRefcount();
  }

  /** A count whose slice is at hand. Under the metadata lock. */
  long now(long cluster) {
    Slice slice = peek(cluster);
    return slice == null ? 0 : count(slice, cluster);
  }

  /** Sets a count whose slice is at hand. Under the metadata lock. */
  void set(long cluster, long count) {
    Slice slice = peek(cluster);
    if (slice == null) {
      throw new IllegalStateException("refcount slice of cluster " + cluster + " is not loaded");
    }
    changed = true;
    int word = geometry.refcountWord(cluster);
    int shift = geometry.refcountShift(cluster);
    long mask = geometry.maxRefcount() << shift;
    slices.set(slice, word, slice.word(word) & ~mask | count << shift);
  }

  /**
   * Counts clusters once that were free. Their slices are at hand. Under the metadata lock.
   *
   * @return whether nothing was ever written there, so that they read as zero
   */
  boolean take(long firstCluster, long clusters) {
    for (long cluster = firstCluster; cluster < firstCluster + clusters; cluster++) {
      set(cluster, 1);
    }
    boolean fresh = firstCluster >= untouched;
    untouched = Math.max(untouched, firstCluster + clusters);
    return fresh;
  }

  /**
   * As {@link #take}, for clusters that new, zeroed blocks count, of which nothing was read yet.
   */
  boolean takeNew(long firstCluster, long clusters) {
    for (long cluster = firstCluster; cluster < firstCluster + clusters; cluster++) {
      if (peek(cluster) == null) {
        slices.addZero((int) geometry.reftableIndex(cluster), geometry.refcountSlice(cluster));
      }
    }
    return take(firstCluster, clusters);
  }

  /** Passes if entries can lead to the clusters before this one. */
  void requireReachable(long endCluster) throws IOException {
    if (endCluster > Geometry.MAX_HOST_OFFSET >>> geometry.clusterBits()) {
      throw new IOException(name + ": File too large: no host offset above 2^56 can be used");
    }
  }

  /** The error for a cluster that something leads to, but that is not counted. */
  CorruptImageException uncounted(long cluster) {
    return new CorruptImageException(
        name,
        geometry.clusterOffset(cluster),
        "refcount",
        "0 for a cluster that was in use; it must be at least 1",
        "run a check; the refcounts need a repair");
  }

  /** The cluster behind the last counted one of the first {@code clusters}. */
  long usedEnd(long clusters) throws IOException {
    for (long end = clusters; end > 0; ) {
      long first = geometry.firstClusterOfBlock(geometry.reftableIndex(end - 1));
      Slice slice = load(end - 1);
      if (slice != null) {
        first = Math.max(first, sliceEnd(end - 1) - geometry.refcountsPerSlice());
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

  /**
   * A cluster from this one on before which all are in use, as the disk says: of one refcount block
   * at most, and not beyond a slice that is at hand, which may know better. Caches nothing.
   *
   * <p>Called without the metadata lock: the caller sees to clusters that become free meanwhile.
   */
  long usedUntil(long cluster) throws IOException {
    long table = geometry.reftableIndex(cluster);
    int first = geometry.refcountSlice(cluster);
    int behind = first;
    while (behind < geometry.slicesPerCluster() && slices.peek(table, behind) == null) {
      behind++;
    }
    long host = reftable.target(table);
    if (behind == first || host == 0) {
      return cluster;
    }
    long next = sliceEnd(cluster) - geometry.refcountsPerSlice();
    int length = Math.min((behind - first) * geometry.sliceBytes(), LOOK_AHEAD);
    try (Buffers.Lease lease = Buffers.take(length)) {
      ByteBuffer words = lease.buffer();
      storage.event(BlockEvent.REFBLOCK_LOAD);
      storage.read(words, host + (long) first * geometry.sliceBytes());
      next += (long) geometry.refcountsPerWord() * usedWords(words.flip().asLongBuffer());
    }
    // A block that was moved meanwhile has left something else there.
    return reftable.target(table) == host ? Math.max(next, cluster) : cluster;
  }

  /** How many words follow one another in which no count is 0. */
  private int usedWords(LongBuffer words) {
    long[] few = new long[STRETCH];
    int used = 0;
    int here;
    do {
      here = usedWords(words, few);
      used += here;
    } while (here == STRETCH);
    return used;
  }

  /**
   * The same of the next few words. A method of its own, because the JVM compiles what is called
   * often much earlier than a loop that runs for long, and the first write to a huge image has a
   * million words to pass over.
   */
  private int usedWords(LongBuffer words, long[] few) {
    int end = Math.min(few.length, words.remaining());
    words.get(few, 0, end);
    int at = 0;
    while (at < end && !geometry.hasZeroRefcount(few[at])) {
      at++;
    }
    return at;
  }

  /** The first counted cluster from this one on; -1 if there is none. */
  long nextUsed(long from) throws IOException {
    long end = geometry.firstClusterOfBlock(reftable.length());
    for (long cluster = from; cluster < end; ) {
      Slice slice = load(cluster);
      if (slice == null) {
        cluster = geometry.firstClusterOfBlock(geometry.reftableIndex(cluster) + 1);
        continue;
      }
      long sliceEnd = sliceEnd(cluster);
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
      Slice slice = load(cluster);
      long end =
          slice != null
              ? sliceEnd(cluster)
              : geometry.firstClusterOfBlock(geometry.reftableIndex(cluster) + 1);
      for (; slice != null && cluster < Math.min(end, clusters); cluster++) {
        used += count(slice, cluster) != 0 ? 1 : 0;
      }
      cluster = end;
    }
    return used;
  }
}
