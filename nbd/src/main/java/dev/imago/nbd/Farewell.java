package dev.imago.nbd;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;

/**
 * How a connection ends so that its client hears all that it was told. A socket that is closed
 * while something is unread is reset, and what was on its way to the client is lost. So we say our
 * last, read on and forget what comes, until the client has left, too; but not for long.
 *
 * <p>Safe for all threads.
 */
final class Farewell {
  /** How long a client has to hear that it was the last, and to leave, in nanoseconds. */
  private static final long TIME = TimeUnit.SECONDS.toNanos(2);

  /** Bytes that a client may send meanwhile: the data of two requests. */
  private static final long BYTES = 64 << 20;

  private final PlainTransport socket;
  private final InFlight inFlight;

  /** Guarded by the monitor, as what follows. */
  private Transport transport;

  /** Whether the end is wanted, once there is nothing to answer. */
  private boolean wanted;

  /** Whether the connection's thread waits for the client, and has nothing to tell it. */
  private boolean waiting;

  private boolean said;

  /** When our last was said, in odd nanoseconds, or 0. */
  private volatile long begun;

  Farewell(PlainTransport socket, InFlight inFlight) {
    this.socket = socket;
    this.inFlight = inFlight;
    this.transport = socket;
  }

  /** From now on all goes through TLS. */
  synchronized void switchTo(Transport encrypted) {
    transport = encrypted;
  }

  /**
   * The connection's thread is about to wait for the client: all that it had to tell was sent.
   *
   * @return false if there is nothing to wait for, because our last was said
   */
  boolean waits() {
    synchronized (this) {
      waiting = true;
    }
    sayIfQuiet();
    synchronized (this) {
      waiting = !said;
      return waiting;
    }
  }

  /** The wait is over; false if what came is too late to be answered. */
  synchronized boolean goesOn() {
    waiting = false;
    return !said;
  }

  /** Asks for the end, as soon as what is under way was answered. Does not wait for it. */
  synchronized void want() {
    wanted = true;
  }

  /**
   * Says our last if the end is wanted and nothing is under way. To be called whenever one of these
   * has become true. Over TLS it may wait for the client.
   */
  void sayIfQuiet() {
    Transport through;
    synchronized (this) {
      if (said || !wanted || !waiting || inFlight.requests() > 0) {
        return;
      }
      said = true;
      through = transport;
    }
    say(through);
  }

  /**
   * Says our last, if that was not said, and waits for the client to leave. For the connection's
   * own thread, when nothing is under way.
   *
   * @param scratch may be overwritten
   */
  void finish(ByteBuffer scratch) {
    Transport through = null;
    synchronized (this) {
      if (!said) {
        said = true;
        through = transport;
      }
    }
    if (through != null) {
      say(through);
    }
    try {
      for (long left = BYTES; left > 0; ) {
        int n = socket.read(scratch.clear());
        if (n < 0) {
          return;
        }
        left -= n;
      }
    } catch (IOException e) {
      return; // which is an end, too
    }
  }

  private void say(Transport through) {
    begun = System.nanoTime() | 1;
    try {
      through.end();
    } catch (IOException e) {
      return; // there is nobody to hear it
    }
  }

  /**
   * Whether our last was said.
   *
   * @return true also if somebody is just about to say it over TLS
   */
  boolean begun() {
    return begun != 0;
  }

  /**
   * Whether the client has had its time.
   *
   * @param now in the terms of {@link System#nanoTime}
   */
  boolean overdue(long now) {
    long since = begun;
    return since != 0 && now - since > TIME;
  }
}
