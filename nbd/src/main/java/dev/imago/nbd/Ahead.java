package dev.imago.nbd;

import java.util.ArrayList;
import java.util.List;

/**
 * READs of one client that the disk is at work for, and that one thread of the pool shall wait for,
 * one after the other: to wake a thread for each would cost more than most of them wait. For the
 * connection's own thread, which hands them over before it waits for anything.
 */
final class Ahead {
  /** So many have one thread at most. */
  private static final int MOST = 16;

  private final Connection connection;
  private final List<SlowRequest> reads = new ArrayList<>();

  Ahead(Connection connection) {
    this.connection = connection;
  }

  boolean isEmpty() {
    return reads.isEmpty();
  }

  /** Takes over a READ that was counted in. */
  void add(SlowRequest read) {
    reads.add(read);
    if (reads.size() == MOST) {
      handOver();
    }
  }

  /** Leaves what there is to the pool. */
  void handOver() {
    if (reads.isEmpty()) {
      return;
    }
    List<SlowRequest> given = List.copyOf(reads);
    reads.clear();
    boolean taken = false;
    try {
      connection.execute(() -> given.forEach(SlowRequest::run));
      taken = true;
    } finally {
      if (!taken) {
        given.forEach(SlowRequest::dropped);
      }
    }
  }
}
