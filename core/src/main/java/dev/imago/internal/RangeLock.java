package dev.imago.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Lets requests on the same bytes wait for each other: shared ranges may overlap, an exclusive one
 * overlaps nothing. First come, first served, so nobody waits for ever. A thread may hold one range
 * at a time. Waiting ignores interrupts.
 */
public final class RangeLock {
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition released = lock.newCondition();

  /** A lock on nothing yet. */
  public RangeLock() {}

  /** What is held or waited for, in the order of arrival. */
  private final List<Held> queue = new ArrayList<>();

  /** A range that is held; give it back with {@link #close}. */
  public final class Held implements AutoCloseable {
    private final long start;
    private final long end;
    private final boolean exclusive;

    private Held(long start, long end, boolean exclusive) {
      this.start = start;
      this.end = end;
      this.exclusive = exclusive;
    }

    private boolean excludes(Held other) {
      return start < other.end && other.start < end && (exclusive || other.exclusive);
    }

    @Override
    public void close() {
      lock.lock();
      try {
        queue.remove(this);
        released.signalAll();
      } finally {
        lock.unlock();
      }
    }
  }

  /** Waits until nobody who came before holds or wants a range that excludes this one. */
  public Held acquire(long start, long end, boolean exclusive) {
    Held wanted = new Held(start, end, exclusive);
    lock.lock();
    try {
      queue.add(wanted);
      while (isExcluded(wanted)) {
        released.awaitUninterruptibly();
      }
      return wanted;
    } finally {
      lock.unlock();
    }
  }

  private boolean isExcluded(Held wanted) {
    for (Held earlier : queue) {
      if (earlier == wanted) {
        return false;
      }
      if (wanted.excludes(earlier)) {
        return true;
      }
    }
    throw new AssertionError("not in the queue");
  }
}
