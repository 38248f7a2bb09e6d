package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Hands out host clusters, and takes them back.
 *
 * <p>Taking clusters never needs a flush: it changes counts in the cache, and what {@link
 * RefcountBlocks} makes for them is not led to yet. Nothing is loaded while the metadata lock is
 * held: a scan that lacks a slice steps out, loads it and begins again where it was.
 *
 * <p>Spec: qcow2 digest, 5 and 12.1.
 */
final class Allocator {
  private final String name;
  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final HostCounts counts;
  private final RefcountBlocks blocks;
  private final MetadataMap map;
  private final CompressedPlaces places;
  private final boolean reuse;

  /** No cluster below this one is free. */
  private long firstFree = 1;

  /** How often a cluster became free. Under the metadata lock. */
  private long freed;

  Allocator(
      String name,
      ReentrantLock metadata,
      Geometry geometry,
      Storage storage,
      HostCounts counts,
      RefcountBlocks blocks,
      MetadataMap map,
      CompressedPlaces places,
      boolean reuse) {
    this.name = name;
    this.metadata = metadata;
    this.geometry = geometry;
    this.storage = storage;
    this.counts = counts;
    this.blocks = blocks;
    this.map = map;
    this.places = places;
    this.reuse = reuse;
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
    return run != null ? run : blocks.makeFor(count);
  }

  /**
   * Takes one certain cluster.
   *
   * @return false if it is in use, or no refcount block covers it yet
   */
  boolean takeExactly(long cluster) throws IOException {
    while (true) {
      if (counts.load(cluster) == null) {
        return false;
      }
      metadata.lock();
      try {
        Slice slice = counts.peek(cluster);
        if (slice != null) {
          boolean free = counts.count(slice, cluster) == 0;
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
   * Counts one reference more to the cluster of {@link CompressedPlaces}, if that is still at this
   * place.
   *
   * @return false if it is not, or if the count cannot be higher
   */
  boolean addReference(CompressedPlaces.At place) throws IOException {
    long cluster = geometry.clusterIndex(place.hostOffset());
    while (true) {
      counts.require(cluster);
      metadata.lock();
      try {
        if (!places.has(place)) {
          return false;
        }
        if (counts.peek(cluster) != null) {
          long now = counts.now(cluster);
          if (now == geometry.maxRefcount()) {
            return false;
          }
          counts.set(cluster, now + 1);
          return true;
        }
      } finally {
        metadata.unlock();
      }
    }
  }

  /** Null if there would have to be another refcount block first, and that is not wanted. */
  private @Nullable Taken take(long wanted, long from, boolean mayGrow) throws IOException {
    for (long at = from; ; ) {
      Scan scan;
      metadata.lock();
      try {
        scan = scan(Math.max(at, firstFree), wanted);
        if (scan.length > 0) {
          return mark(scan.start, scan.length);
        }
      } finally {
        metadata.unlock();
      }
      // Never back to slices that had to make room for the one that is loaded now.
      at = scan.start;
      if (scan.blockMissing && !mayGrow) {
        return null;
      }
      if (scan.blockMissing) {
        blocks.make(scan.start);
      } else {
        pass(scan.start);
      }
    }
  }

  /**
   * Moves {@link #firstFree} over clusters in use whose counts are not at hand; where there is one
   * that may be free, its count is at hand afterwards.
   */
  private void pass(long cluster) throws IOException {
    long freedBefore;
    metadata.lock();
    try {
      freedBefore = firstFree == cluster ? freed : -1;
    } finally {
      metadata.unlock();
    }
    long next = freedBefore < 0 ? cluster : usedUntil(cluster);
    if (next == cluster) {
      counts.load(cluster);
      return;
    }
    metadata.lock();
    try {
      // Else it was taken, or one behind it became free, while the disk was read.
      if (firstFree == cluster && freed == freedBefore) {
        firstFree = next;
      }
    } finally {
      metadata.unlock();
    }
  }

  private long usedUntil(long cluster) {
    try {
      return counts.usedUntil(cluster);
    } catch (IOException e) {
      return cluster; // perhaps of a part that is not needed
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
      Slice slice = counts.peek(cluster);
      if (slice == null) {
        return new Scan(start, length, !counts.covered(cluster));
      }
      long sliceEnd = counts.sliceEnd(cluster);
      while (cluster < sliceEnd && length < wanted) {
        if (counts.count(slice, cluster) == 0) {
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

  /** Skips a used cluster, and whole words of used ones. */
  private long nextCandidate(Slice slice, long cluster, long sliceEnd) {
    int perWord = geometry.refcountsPerWord();
    long next = cluster + 1;
    while (next < sliceEnd
        && next % perWord == 0
        && !geometry.hasZeroRefcount(slice.word(geometry.refcountWord(next)))) {
      next += perWord;
    }
    return next;
  }

  private Taken mark(long start, long length) throws IOException {
    counts.requireReachable(start + length);
    if (map.overlaps(geometry.clusterOffset(start), geometry.clusterOffset(length))) {
      throw new CorruptImageException(
          name,
          geometry.clusterOffset(start),
          "refcount",
          "0 for a cluster that holds metadata; it must be counted",
          "run a check; the refcounts need a repair");
    }
    boolean untouched = counts.take(start, length);
    if (start == firstFree) {
      firstFree = start + length;
    }
    return new Taken(start, length, untouched);
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
      long sliceEnd = Math.min(end, counts.sliceEnd(cluster));
      if (punch) {
        punch(cluster, sliceEnd);
      }
      while (true) {
        counts.require(cluster);
        metadata.lock();
        try {
          if (counts.peek(cluster) != null) {
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
    long now = counts.now(cluster);
    if (now == 0) {
      throw counts.uncounted(cluster);
    }
    counts.set(cluster, now - 1);
    places.forget(cluster, 1);
    if (now == 1 && reuse) {
      firstFree = Math.min(firstFree, cluster);
      freed++;
    }
  }

  /** Drops references without quarantine. Only for proving that a test would notice. */
  void lowerAtOnce(long firstCluster, long count) {
    for (long cluster = firstCluster; cluster < firstCluster + count; cluster++) {
      if (counts.peek(cluster) != null && counts.now(cluster) > 0) {
        counts.set(cluster, counts.now(cluster) - 1);
        places.forget(cluster, 1);
        firstFree = Math.min(firstFree, cluster);
        freed++;
      }
    }
  }

  /** Punches, in merged runs, what one reference less makes free. All in one slice of counts. */
  private void punch(long from, long end) throws IOException {
    Slice slice = counts.require(from);
    long start = -1;
    for (long cluster = from; cluster <= end; cluster++) {
      boolean last = cluster < end && counts.count(slice, cluster) == 1;
      if (last && start < 0) {
        start = cluster;
      } else if (!last && start >= 0) {
        storage.discard(geometry.clusterOffset(start), geometry.clusterOffset(cluster - start));
        start = -1;
      }
    }
  }

  /** Forgets what was learnt of free places, because someone else may have taken them. */
  void reset() throws IOException {
    firstFree = 1;
    freed++;
    places.forgetAll();
    counts.reset();
  }
}
