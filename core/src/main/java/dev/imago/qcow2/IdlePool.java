package dev.imago.qcow2;

import java.util.ArrayDeque;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Things that cost much to make and hold memory outside of the heap, kept for the next who needs
 * one. Each is used by one thread at a time. Safe for many threads.
 *
 * <p>No more lie idle than there are processors, however many were in use at once.
 */
final class IdlePool<T> implements AutoCloseable {
  private static final int MOST = Runtime.getRuntime().availableProcessors();

  private final Supplier<T> maker;
  private final Consumer<T> end;

  /** The one used last comes first. Its own monitor guards it and {@link #closed}. */
  private final ArrayDeque<T> idle = new ArrayDeque<>();

  private boolean closed;

  /**
   * @param end frees what one of them holds
   */
  IdlePool(Supplier<T> maker, Consumer<T> end) {
    this.maker = maker;
    this.end = end;
  }

  /** An idle one, or a new one; {@link #giveBack} it. */
  T take() {
    synchronized (idle) {
      T first = idle.poll();
      if (first != null) {
        return first;
      }
    }
    return maker.get();
  }

  /** Keeps what was taken, or ends it if enough are kept or the pool is closed. */
  void giveBack(T taken) {
    synchronized (idle) {
      if (!closed && idle.size() < MOST) {
        idle.push(taken);
        return;
      }
    }
    end.accept(taken);
  }

  /** Ends the idle ones at once, and those in use when they are given back. */
  @Override
  public void close() {
    synchronized (idle) {
      closed = true;
      idle.forEach(end);
      idle.clear();
    }
  }
}
