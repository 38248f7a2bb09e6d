package dev.imago.nbd;

import java.util.concurrent.atomic.AtomicBoolean;
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
   * @param maxBytes of memory; a single request may have more, if the budget has it
   * @param budget what all connections have together
   */
  InFlight(int maxRequests, long maxBytes, Budget budget) {
    this.maxRequests = maxRequests;
    this.maxBytes = maxBytes;
    this.budget = budget;
  }

  /** Counts a request in if there is room now. */
  synchronized boolean tryEnter(long length) {
    boolean fits = requests == 0 || requests < maxRequests && bytes + length <= maxBytes;
    if (!fits || !budget.tryTake(length)) {
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
   * @return false if it was not counted in, because the others have the memory, and this connection
   *     has none that it could give back: it has to do without
   */
  boolean enter(long length) {
    budget.waits(this);
    try {
      AtomicBoolean entered = new AtomicBoolean();
      await(
          () -> {
            entered.setPlain(tryEnter(length));
            return entered.getPlain() || requests == 0;
          });
      return entered.getPlain();
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
