package dev.imago.nbd;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Memory for the data of all connections' requests together. What there is no room for waits, but
 * each connection may always have one request, so that one that is owed its answers by others'
 * idleness still goes on.
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

  /** Takes so many bytes, whether there are so many or not. */
  void take(long bytes) {
    left.addAndGet(-bytes);
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
