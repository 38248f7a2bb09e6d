package dev.imago;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/** Keeps several threads together below a number of bytes per second. */
final class Pace {
  private final long bytesPerSecond;
  private long free = System.nanoTime();

  /** No limit if {@code bytesPerSecond} is 0. */
  Pace(long bytesPerSecond) {
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Waits until so many bytes more may be moved; returns early if the thread is interrupted. */
  void await(long bytes) {
    if (bytesPerSecond <= 0) {
      return;
    }
    long start = reserve(bytes);
    long wait = start - System.nanoTime();
    while (wait > 0 && !Thread.currentThread().isInterrupted()) {
      LockSupport.parkNanos(wait);
      wait = start - System.nanoTime();
    }
  }

  private synchronized long reserve(long bytes) {
    long start = Math.max(free, System.nanoTime());
    double seconds = (double) bytes / bytesPerSecond;
    free = start + (long) (seconds * TimeUnit.SECONDS.toNanos(1));
    return start;
  }
}
