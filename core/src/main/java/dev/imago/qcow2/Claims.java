package dev.imago.qcow2;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which guest clusters are being given a new place just now. Two first writes into one cluster
 * share one allocation because the second waits here for the first; a discard waits for both.
 *
 * <p>A request holds one claim at a time and takes all clusters of it at once, so that claims
 * cannot wait for each other in a circle.
 */
final class Claims {
  private final List<Claim> held = new ArrayList<>();

  /** A run of guest clusters that nobody else may map anew until it is closed. */
  final class Claim implements AutoCloseable {
    private final long first;
    private long end;

    private Claim(long first, long end) {
      this.first = first;
      this.end = end;
    }

    /** Lets go of the clusters behind the first {@code count}. */
    void shrink(long count) {
      synchronized (Claims.this) {
        end = Math.min(end, first + count);
        Claims.this.notifyAll();
      }
    }

    @Override
    public void close() {
      synchronized (Claims.this) {
        held.remove(this);
        Claims.this.notifyAll();
      }
    }
  }

  /** Waits until none of these clusters is claimed, and claims them all. */
  synchronized Claim take(long firstCluster, long count) {
    boolean interrupted = false;
    while (overlaps(firstCluster, firstCluster + count)) {
      try {
        wait();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return add(firstCluster, count);
  }

  /** Claims these clusters if none of them is claimed; null otherwise. */
  synchronized @Nullable Claim tryTake(long firstCluster, long count) {
    return overlaps(firstCluster, firstCluster + count) ? null : add(firstCluster, count);
  }

  private Claim add(long firstCluster, long count) {
    Claim claim = new Claim(firstCluster, firstCluster + count);
    held.add(claim);
    return claim;
  }

  private boolean overlaps(long first, long end) {
    for (int i = 0; i < held.size(); i++) {
      Claim other = held.get(i);
      if (first < other.end && other.first < end) {
        return true;
      }
    }
    return false;
  }
}
