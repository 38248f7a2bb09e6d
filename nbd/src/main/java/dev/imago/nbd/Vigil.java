package dev.imago.nbd;

import java.io.IOException;
import java.util.concurrent.Semaphore;

/**
 * How a connection's thread waits for the next request of a client that is quick: it looks again
 * and again for a moment before it lets the kernel put it to sleep, because being woken takes
 * longer than many a request. A client that has let us wait for longer than such a moment is waited
 * for asleep, so that an idle one costs nothing.
 *
 * <p>For the connection's own thread.
 */
final class Vigil {
  /** The longest moment, in nanoseconds. */
  static final long MOST = 50_000;

  /** One for each thread that may look: half of the processors, as the clients need some, too. */
  private static final Semaphore PROCESSORS =
      new Semaphore(Runtime.getRuntime().availableProcessors() / 2);

  private final Semaphore processors;
  private boolean quick;

  Vigil() {
    this(PROCESSORS);
  }

  Vigil(Semaphore processors) {
    this.processors = processors;
  }

  /**
   * Waits for more, for a moment, if that promises something.
   *
   * @param in empty; nobody else reads or writes there
   */
  void keep(Incoming in) throws IOException {
    if (quick && processors.tryAcquire()) {
      try {
        in.more(MOST);
      } finally {
        processors.release();
      }
    }
  }

  /** Something has come, after so many nanoseconds of waiting in all. */
  void ended(long nanos) {
    quick = nanos < MOST;
  }
}
