package dev.imago;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * Keeps several threads together below a number of bytes per second. What is moved first goes at
 * once; who comes next waits as long as that may take.
 */
final class Pace {
  private final long bytesPerSecond;
  private final Clock clock;
  private long free;

  /** What time is taken from. */
  interface Clock {
    /** The machine's. */
    Clock SYSTEM =
        new Clock() {
          @Override
          public long nanoTime() {
            return System.nanoTime();
          }

          @Override
          public void park(long nanos) {
            LockSupport.parkNanos(nanos);
          }
        };

    /** As {@link System#nanoTime}. */
    long nanoTime();

    /** Waits, at most for so long, and at once no longer if the thread is interrupted. */
    void park(long nanos);
  }

  /** No limit if {@code bytesPerSecond} is 0. */
  Pace(long bytesPerSecond) {
    this(bytesPerSecond, Clock.SYSTEM);
  }

  Pace(long bytesPerSecond, Clock clock) {
    this.bytesPerSecond = bytesPerSecond;
    this.clock = clock;
    this.free = clock.nanoTime();
  }

  /** Waits until so many bytes more may be moved; returns early if the thread is interrupted. */
  void await(long bytes) {
    if (bytesPerSecond <= 0 || bytes == 0) {
      return;
    }
    long start = reserve(bytes);
    long wait = start - clock.nanoTime();
    while (wait > 0 && !Thread.currentThread().isInterrupted()) {
      clock.park(wait);
      wait = start - clock.nanoTime();
    }
  }

  private synchronized long reserve(long bytes) {
    long now = clock.nanoTime();
    // Differences alone mean anything, and may be taken across an overflow.
    long start = free - now > 0 ? free : now;
    double nanos = (double) bytes / bytesPerSecond * TimeUnit.SECONDS.toNanos(1);
    free = start + (long) Math.min(nanos, 1e18);
    return start;
  }
}
