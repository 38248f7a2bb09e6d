package dev.imago.storage;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Lets requests on the same bytes wait for each other: shared ranges may overlap, an exclusive one
 * overlaps nothing. A thread may hold one range at a time. Waiting ignores interrupts.
 */
final class RangeLock {
  private final ReentrantLock lock = new ReentrantLock(true);
  private final Condition released = lock.newCondition();
  private final List<Held> held = new ArrayList<>();

  /** A range that is held; give it back with {@link #close}. */
  final class Held implements AutoCloseable {
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
        held.remove(this);
        released.signalAll();
      } finally {
        lock.unlock();
      }
    }
  }

  /** Waits until nobody holds a range that excludes this one. */
  Held acquire(long start, long end, boolean exclusive) {
    Held wanted = new Held(start, end, exclusive);
    lock.lock();
    try {
      while (isExcluded(wanted)) {
        released.awaitUninterruptibly();
      }
      held.add(wanted);
      return wanted;
    } finally {
      lock.unlock();
    }
  }

  private boolean isExcluded(Held wanted) {
    for (Held other : held) {
      if (wanted.excludes(other)) {
        return true;
      }
    }
    return false;
  }
}
