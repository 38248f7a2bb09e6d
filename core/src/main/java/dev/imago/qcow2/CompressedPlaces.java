package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Where the next compressed cluster may go: behind the last one, or into a gap, which is what room
 * an earlier host cluster had left when the next host cluster was somebody else's. Everything
 * happens under the image's metadata lock.
 *
 * <p>A place is given up for good as soon as its host cluster loses any reference, be it one that
 * waits in quarantine or one that was given back. So nothing is ever appended to a cluster that may
 * become free, whoever has used it meanwhile.
 */
final class CompressedPlaces {
  /** So many gaps are remembered, those with the most room. */
  private static final int GAPS = 32;

  private final Geometry geometry;
  private final List<At> gaps = new ArrayList<>();
  private @Nullable At tail;
  private long uses;

  CompressedPlaces(Geometry geometry) {
    this.geometry = geometry;
  }

  /**
   * A place, as it was at one time.
   *
   * @param hostOffset not the start of a cluster
   * @param use tells it from the same place at another time
   */
  record At(long hostOffset, long use) {}

  /** Behind the last one; null if that is no place any more. */
  @Nullable At tail() {
    return tail;
  }

  /** The gap with the least room that is enough for so many bytes; null if there is none. */
  @Nullable At gap(int length) {
    At best = null;
    for (At gap : gaps) {
      if (room(gap) >= length && (best == null || room(gap) < room(best))) {
        best = gap;
      }
    }
    return best;
  }

  private long room(At place) {
    return geometry.clusterSize() - geometry.inCluster(place.hostOffset);
  }

  /** Whether a place is still one, and was not given up meanwhile. */
  boolean has(At place) {
    return place.equals(tail) || gaps.contains(place);
  }

  /** The last one ends here now; the place behind the one before becomes a gap if it is one. */
  void beginTail(long hostOffset) {
    At before = tail;
    tail = null;
    moveTail(hostOffset);
    if (before != null) {
      addGap(before);
    }
  }

  /** The last one ends here now, in or behind the host cluster of the one before. */
  void moveTail(long hostOffset) {
    // Where a cluster begins that is not ours there is no place.
    tail = geometry.inCluster(hostOffset) == 0 ? null : new At(hostOffset, ++uses);
  }

  /** Some of a gap's room is taken. */
  void fill(At gap, int length) {
    if (gaps.remove(gap) && room(gap) > length) {
      addGap(new At(gap.hostOffset + length, ++uses));
    }
  }

  private void addGap(At gap) {
    gaps.add(gap);
    if (gaps.size() > GAPS) {
      At least = gap;
      for (At each : gaps) {
        least = room(each) < room(least) ? each : least;
      }
      gaps.remove(least);
    }
  }

  /** Nothing more goes there. */
  void giveUp(At place) {
    if (place.equals(tail)) {
      tail = null;
    }
    gaps.remove(place);
  }

  /** These clusters lose references. */
  void forget(long firstCluster, long count) {
    if (tail != null && within(tail, firstCluster, count)) {
      tail = null;
    }
    if (!gaps.isEmpty()) {
      gaps.removeIf(gap -> within(gap, firstCluster, count));
    }
  }

  private boolean within(At place, long firstCluster, long count) {
    long cluster = geometry.clusterIndex(place.hostOffset);
    return cluster >= firstCluster && cluster < firstCluster + count;
  }

  /** Nothing is known of any cluster any more. */
  void forgetAll() {
    tail = null;
    gaps.clear();
  }
}
