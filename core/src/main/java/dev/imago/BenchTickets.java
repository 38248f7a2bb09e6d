package dev.imago;

import java.io.IOException;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Numbers the requests of a {@link Bench}, and flushes between groups of them. Threads draw numbers
 * until there are none.
 */
final class BenchTickets {
  private final long count;
  private final long groupLength;
  private final boolean drain;
  private final Flush flush;
  private final AtomicLong next = new AtomicLong();

  // Guarded by this; used only if groups are drained.
  private long open;
  private long doneInGroup;
  private boolean stopped;

  /** Makes durable what was written. */
  @FunctionalInterface
  interface Flush {
    void run() throws IOException;
  }

  /**
   * Starts at number 0.
   *
   * @param groupLength how many requests before each flush, at least 1
   * @param drain whether a group begins only when the one before it was flushed
   */
  BenchTickets(long count, long groupLength, boolean drain, Flush flush) {
    this.count = count;
    this.groupLength = groupLength;
    this.drain = drain;
    this.flush = flush;
    this.open = groupLength;
  }

  /** The next number; -1 if there is none. With {@code drain} waits for its group. */
  long draw() {
    long number = next.getAndIncrement();
    if (number >= count) {
      return -1;
    }
    return !drain || groupLength >= count || awaitOpen(number) ? number : -1;
  }

  private synchronized boolean awaitOpen(long number) {
    boolean interrupted = false;
    while (number >= open && !stopped) {
      try {
        wait();
      } catch (InterruptedException e) {
        interrupted = true;
        break;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return !stopped && !interrupted;
  }

  /** The request of that number was made. */
  void done(long number) throws IOException {
    if (!drain) {
      if ((number + 1) % groupLength == 0) {
        flush.run();
      }
    } else if (groupLength < count && endsGroup()) {
      flush.run();
      openNext();
    }
  }

  private synchronized boolean endsGroup() {
    // Behind the last request there is nobody to wait for a flush.
    return ++doneInGroup == groupLength && open < count;
  }

  private synchronized void openNext() {
    doneInGroup = 0;
    open += groupLength;
    notifyAll();
  }

  /** Lets those that wait give up, if something has failed. */
  synchronized void stopIf(boolean failed) {
    if (failed) {
      stopped = true;
      notifyAll();
    }
  }
}
