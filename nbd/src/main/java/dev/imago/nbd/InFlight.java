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
  private int requests;
  private long bytes;

  /**
   * Sets the limits.
   *
   * @param maxBytes of data; a single request may have more
   */
  InFlight(int maxRequests, long maxBytes) {
    this.maxRequests = maxRequests;
    this.maxBytes = maxBytes;
  }

  /** As {@link #enter}, but only if there is room now. */
  synchronized boolean tryEnter(long length) {
    if (!hasRoom(length)) {
      return false;
    }
    requests++;
    bytes += length;
    return true;
  }

  private boolean hasRoom(long length) {
    return requests == 0 || (requests < maxRequests && bytes + length <= maxBytes);
  }

  /**
   * Counts a request in, and waits until there is room for it.
   *
   * @param length bytes of data that it brings or will be answered with
   */
  synchronized void enter(long length) {
    await(() -> hasRoom(length));
    requests++;
    bytes += length;
  }

  /** Its reply is written, or never will be. */
  synchronized void leave(long length) {
    requests--;
    bytes -= length;
    notifyAll();
  }

  /** How many there are. */
  synchronized int requests() {
    return requests;
  }

  /** Waits until there is none. */
  synchronized void awaitNone() {
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
