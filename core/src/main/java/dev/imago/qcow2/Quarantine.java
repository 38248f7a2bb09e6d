package dev.imago.qcow2;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Host clusters that lost their last user in memory, but which the disk, or a request that looked
 * them up before, may still refer to. Everything happens under the image's metadata lock.
 *
 * <p>A cluster passes four lists: {@code open} until a flush seals it, {@code sealed} until that
 * flush has made its unlinking durable, {@code waiting} until a new phase of requests can begin,
 * {@code draining} until all requests of the phase before have ended.
 */
final class Quarantine {
  private final Requests requests;
  private Batch open = new Batch();
  private Batch sealed = new Batch();
  private Batch waiting = new Batch();
  private Batch draining = new Batch();
  private long clusters;

  Quarantine(Requests requests) {
    this.requests = requests;
  }

  /** Takes in a run of host clusters, each of which loses one reference. */
  void add(long firstCluster, long count) {
    open.add(firstCluster, count);
    clusters += count;
  }

  /** Takes in a guest cluster whose place in the data file is to be given back. */
  void addPunch(long guestCluster) {
    open.punches.add(guestCluster);
  }

  /** Somebody writes to that guest cluster again: its place is kept. */
  void cancelPunch(long guestCluster) {
    open.punches.remove(guestCluster);
    sealed.punches.remove(guestCluster);
    waiting.punches.remove(guestCluster);
    draining.punches.remove(guestCluster);
  }

  /** Whether a guest cluster's place still waits to be given back, its requests having ended. */
  boolean stillToPunch(Batch batch, long guestCluster) {
    return batch.punches.contains(guestCluster);
  }

  /** Clusters in quarantine. */
  long clusters() {
    return clusters;
  }

  /** Whether anything waits for a flush. */
  boolean needsFlush() {
    return !open.isEmpty();
  }

  /** What has been unlinked up to now belongs to the flush that begins. */
  void seal() {
    sealed.addAll(open);
    open = new Batch();
  }

  /** The flush that sealed has made all its changes durable. */
  void unlinkDurable() {
    waiting.addAll(sealed);
    sealed = new Batch();
  }

  /**
   * What nothing can refer to any more; empty if requests that began earlier are still under way.
   * The caller then gives it back, and says so with {@link #released}.
   */
  Batch takeReleasable() {
    if (draining.isEmpty()) {
      if (waiting.isEmpty() || !requests.drained()) {
        return new Batch();
      }
      draining = waiting;
      waiting = new Batch();
      requests.flip();
    }
    return requests.drained() ? draining : new Batch();
  }

  /** The batch that {@link #takeReleasable} returned has been given back. */
  void released(Batch batch) {
    clusters -= batch.count;
    if (batch == draining) {
      draining = new Batch();
    }
  }

  /** Runs of host clusters, and guest clusters whose place in a data file is given back. */
  static final class Batch {
    private final List<long[]> runs = new ArrayList<>();
    private final Set<Long> punches = new HashSet<>();
    private long count;

    private void add(long firstCluster, long clusters) {
      count += clusters;
      if (!runs.isEmpty()) {
        long[] last = runs.getLast();
        if (last[0] + last[1] == firstCluster) {
          last[1] += clusters;
          return;
        }
      }
      runs.add(new long[] {firstCluster, clusters});
    }

    private void addAll(Batch other) {
      runs.addAll(other.runs);
      punches.addAll(other.punches);
      count += other.count;
    }

    boolean isEmpty() {
      return runs.isEmpty() && punches.isEmpty();
    }

    /** Pairs of first cluster and count; a cluster may occur several times. */
    List<long[]> runs() {
      return runs;
    }

    /** Guest clusters, ascending. */
    List<Long> punches() {
      return punches.stream().sorted().toList();
    }
  }
}
