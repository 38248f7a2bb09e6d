package dev.imago.nbd;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * Whether a client waits for each answer before it asks again. Then nobody is held up if its
 * requests are done by the thread that reads them, and no other thread need be woken.
 *
 * <p>It is believed after some requests in a row, and no more when one of its requests has met
 * another one. A client that changes its ways is held up by one request at most.
 */
final class Lockstep {
  /** So many requests in a row. */
  static final int ENOUGH = 8;

  /** Requests that others do and that were not answered yet. */
  private final AtomicInteger underWay = new AtomicInteger();

  private int row;

  /**
   * A request has come. For the connection's own thread, as what follows.
   *
   * @param alone whether no other one came with it
   * @return whether it may be done at once, though that takes time
   */
  boolean met(boolean alone) {
    if (alone && underWay.get() == 0) {
      row = Math.min(ENOUGH, row + 1);
    } else {
      row = 0;
    }
    return row == ENOUGH;
  }

  /** While a request was done at once another one has come. */
  void broken() {
    row = 0;
  }

  /** Somebody else does the request. */
  void handedOver() {
    underWay.incrementAndGet();
  }

  /**
   * The client is about to be told how it went; it may send its next one at once. For all threads.
   */
  void answered() {
    underWay.decrementAndGet();
  }
}
