package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import org.jspecify.annotations.Nullable;

/**
 * Where the next compressed cluster may go: behind the last one, in a host cluster that has room
 * left. Everything happens under the image's metadata lock.
 *
 * <p>The place is given up for good as soon as its host cluster loses any reference, be it one that
 * waits in quarantine or one that was given back. So nothing is ever appended to a cluster that may
 * become free, whoever has used it meanwhile.
 */
final class CompressedTail {
  private final Geometry geometry;
  private @Nullable At at;
  private long uses;

  CompressedTail(Geometry geometry) {
    this.geometry = geometry;
  }

  /**
   * A place, as it was at one time.
   *
   * @param hostOffset not the start of a cluster
   * @param use tells it from the same place at another time
   */
  record At(long hostOffset, long use) {}

  /** The place; null if there is none. */
  @Nullable At at() {
    return at;
  }

  /** Whether the place is still this one, and was not given up meanwhile. */
  boolean isAt(At place) {
    return place.equals(at);
  }

  /** The next one goes here, unless this is where a cluster begins that is not ours. */
  void moveTo(long hostOffset) {
    at = geometry.inCluster(hostOffset) == 0 ? null : new At(hostOffset, ++uses);
  }

  /** These clusters lose references. */
  void forget(long firstCluster, long count) {
    At now = at;
    if (now != null) {
      long cluster = geometry.clusterIndex(now.hostOffset);
      if (cluster >= firstCluster && cluster < firstCluster + count) {
        at = null;
      }
    }
  }

  /** Nothing is known of any cluster any more. */
  void forgetAll() {
    at = null;
  }
}
