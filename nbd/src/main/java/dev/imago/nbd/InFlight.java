package dev.imago.nbd;

import java.util.function.BooleanSupplier;

/**
 * Requests of one connection that were read and whose replies are not written yet. Whoever reads
 * requests waits here when there are too many, which is how a client is slowed down that sends and
 * does not read.
 */
final class InFlight {
  private final int maxRequests;
  private final long maxBytes;
  private final Budget budget;
  private int requests;
  private long bytes;

  /**
   * Sets the limits.
   *
   * @param maxBytes of memory; a single request may have more
   * @param budget what all connections have together; a single request of each may have more
   */
  InFlight(int maxRequests, long maxBytes, Budget budget) {
    this.maxRequests = maxRequests;
    this.maxBytes = maxBytes;
    this.budget = budget;
  }

  /** As {@link #enter}, but only if there is room now. */
  synchronized boolean tryEnter(long length) {
    if (requests == 0) {
      budget.take(length);
    } else if (requests >= maxRequests || bytes + length > maxBytes || !budget.tryTake(length)) {
      return false;
    }
    requests++;
    bytes += length;
    return true;
  }

  /**
   * Counts a request in, and waits until there is room for it.
   *
   * @param length bytes of memory that it brings or will be answered with
   */
  void enter(long length) {
    budget.waits(this);
    try {
      await(() -> tryEnter(length));
    } finally {
      budget.waitsNoMore(this);
    }
  }

  /** Its reply is written, or never will be. */
  void leave(long length) {
    synchronized (this) {
      requests--;
      bytes -= length;
      notifyAll();
    }
    budget.giveBack(length);
  }

  /** Others have given memory back. */
  synchronized void lookAgain() {
    notifyAll();
  }

  /** How many there are. */
  synchronized int requests() {
    return requests;
  }

  /** Waits until there is none. */
  void awaitNone() {
    await(() -> requests == 0);
  }

  private synchronized void await(BooleanSupplier condition) {
    boolean interrupted = false;
    while (!condition.getAsBoolean()) {
      try {
        wait();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
