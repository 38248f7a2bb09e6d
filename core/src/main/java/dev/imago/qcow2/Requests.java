package dev.imago.qcow2;

import java.util.concurrent.atomic.AtomicLongArray;

/**
 * Counts the requests that are under way, so that host space which one of them looked up is not
 * given to somebody else before it ended.
 *
 * <p>Requests are counted in one of two phases. {@link #flip()} starts a new phase; when the old
 * one has {@link #drained()}, every request that began before the flip has ended. The counters are
 * striped, so that threads do not fight for one cache line.
 */
final class Requests {
  private static final int STRIPES = 16;

  /** Longs from one counter to the next: two cache lines. */
  private static final int SPREAD = 16;

  private static final int OPEN = 0;
  private static final int EXCLUSIVE = 1;
  private static final int CLOSED = 2;

  private final String name;
  private final AtomicLongArray counters = new AtomicLongArray(2 * STRIPES * SPREAD);
  private volatile int phase;
  private volatile int gate = OPEN;
  private volatile boolean watched;

  Requests(String name) {
    this.name = name;
  }

  /**
   * Counts a request in. Waits while somebody runs exclusively.
   *
   * @return what to hand to {@link #leave}
   * @throws IllegalStateException if the image is closed
   */
  int enter() {
    int stripe = (int) Thread.currentThread().threadId() & (STRIPES - 1);
    while (true) {
      int now = phase;
      int counter = (now * STRIPES + stripe) * SPREAD;
      counters.getAndIncrement(counter);
      if (gate == OPEN && phase == now) {
        return counter;
      }
      leave(counter);
      awaitGate();
    }
  }

  /** Counts a request out. */
  void leave(int token) {
    counters.getAndDecrement(token);
    if (watched) {
      synchronized (this) {
        notifyAll();
      }
    }
  }

  /** Starts a new phase. Only when the phase before has {@link #drained()}. */
  @SuppressWarnings("NonAtomicVolatileUpdate") // one flush at a time
  void flip() {
    phase = 1 - phase;
  }

  /** Whether every request that began before the last flip has ended. */
  boolean drained() {
    return sum(1 - phase) == 0;
  }

  /** Waits until no request is under way, and holds new ones back until {@link #reopen()}. */
  synchronized void exclusive() {
    boolean interrupted = false;
    while (gate != OPEN) {
      requireNotClosed();
      interrupted |= !pause();
    }
    gate = EXCLUSIVE;
    interrupted |= !awaitNone();
    restore(interrupted);
  }

  /** Lets requests in again. */
  synchronized void reopen() {
    if (gate == EXCLUSIVE) {
      gate = OPEN;
    }
    notifyAll();
  }

  /**
   * Refuses new requests for good and waits for those under way.
   *
   * @return false if it was closed already
   */
  synchronized boolean close() {
    boolean interrupted = false;
    while (gate == EXCLUSIVE) {
      interrupted |= !pause();
    }
    if (gate == CLOSED) {
      restore(interrupted);
      return false;
    }
    gate = CLOSED;
    interrupted |= !awaitNone();
    restore(interrupted);
    return true;
  }

  private boolean awaitNone() {
    boolean undisturbed = true;
    watched = true;
    while (sum(0) + sum(1) != 0) {
      undisturbed &= pause();
    }
    watched = false;
    return undisturbed;
  }

  private synchronized void awaitGate() {
    boolean interrupted = false;
    while (gate != OPEN) {
      requireNotClosed();
      interrupted |= !pause();
    }
    restore(interrupted);
  }

  private void requireNotClosed() {
    if (gate == CLOSED) {
      throw new IllegalStateException(name + ": the image is closed");
    }
  }

  /**
   * Waits for news, holding this object's monitor. The time limit covers the moment between a
   * count's change and its reader's decision to wait.
   *
   * @return false if the thread was interrupted
   */
  @SuppressWarnings("WaitNotInLoop") // every caller loops
  private boolean pause() {
    try {
      wait(1);
      return true;
    } catch (InterruptedException e) {
      return false;
    }
  }

  private static void restore(boolean interrupted) {
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private long sum(int ofPhase) {
    long sum = 0;
    for (int stripe = 0; stripe < STRIPES; stripe++) {
      sum += counters.get((ofPhase * STRIPES + stripe) * SPREAD);
    }
    return sum;
  }
}
