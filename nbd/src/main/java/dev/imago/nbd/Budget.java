package dev.imago.nbd;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Memory for the data of all connections' requests together, never more. A connection that finds
 * none does its requests one at a time, in the little that it has of its own.
 *
 * <p>Safe for all threads.
 */
final class Budget {
  private final AtomicLong left;
  private final Set<InFlight> waiting = ConcurrentHashMap.newKeySet();

  /** All is free; {@code bytes} is at least 0. */
  Budget(long bytes) {
    left = new AtomicLong(bytes);
  }

  /** Takes so many bytes if there are so many. */
  boolean tryTake(long bytes) {
    for (long now = left.get(); now >= bytes; now = left.get()) {
      if (left.compareAndSet(now, now - bytes)) {
        return true;
      }
    }
    return false;
  }

  /** Gives back, and wakes who waits. The caller may hold no monitor of an {@link InFlight}. */
  void giveBack(long bytes) {
    left.addAndGet(bytes);
    waiting.forEach(InFlight::lookAgain);
  }

  /** Who is woken when something is given back; said before it looks whether it must wait. */
  void waits(InFlight connection) {
    waiting.add(connection);
  }

  void waitsNoMore(InFlight connection) {
    waiting.remove(connection);
  }

  /** How many connections wait for memory. */
  int waiting() {
    return waiting.size();
  }
}
