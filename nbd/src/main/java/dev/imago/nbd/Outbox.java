package dev.imago.nbd;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What waits to be written to one client. Many threads put replies in; one of them, the first to
 * come, writes them, and those that come meanwhile leave theirs to it. A client that does not read
 * thus holds up one thread at most, however many replies it is owed.
 *
 * <p>How much can wait here is limited by {@link InFlight}: what was not sent still counts.
 */
final class Outbox {
  /** So many replies are written by one system call at most. */
  private static final int TOGETHER = 64;

  /** So many bytes are written at once at most, so that a slow reader is told from a deaf one. */
  private static final int PIECE = 1 << 20;

  private final Transport transport;
  private final ArrayDeque<Parcel> waiting = new ArrayDeque<>();
  private boolean sending;

  /** When the write that is under way began, in odd nanoseconds, or 0. */
  private volatile long begun;

  private @Nullable IOException broken;

  Outbox(Transport transport) {
    this.transport = transport;
  }

  /**
   * Bytes to be written with nothing in between.
   *
   * @param sent run once they are written, or never will be; must not block
   */
  record Parcel(List<ByteBuffer> parts, Runnable sent) {}

  /**
   * Has a parcel written, by this thread or by another one. After a failure, which closes the
   * transport, parcels are thrown away.
   */
  void send(Parcel parcel) {
    synchronized (this) {
      if (broken == null) {
        waiting.add(parcel);
        if (sending) {
          return;
        }
        sending = true;
        parcel = null;
      }
    }
    if (parcel != null) {
      parcel.sent.run();
    } else {
      drain();
    }
  }

  /**
   * Writes what remains in buffers, with nothing in between, and returns when that is done.
   *
   * @throws IOException if the connection is broken
   */
  void sendAndWait(ByteBuffer... buffers) throws IOException {
    Sent sent = new Sent();
    send(new Parcel(List.of(buffers), sent));
    synchronized (this) {
      boolean interrupted = false;
      while (!sent.done) {
        try {
          wait();
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
      if (broken != null) {
        throw new IOException("the connection is broken", broken);
      }
    }
  }

  private final class Sent implements Runnable {
    private boolean done;

    @Override
    public void run() {
      synchronized (Outbox.this) {
        done = true;
        Outbox.this.notifyAll();
      }
    }
  }

  /** Why the connection is broken, or null. */
  synchronized @Nullable IOException broken() {
    return broken;
  }

  private void drain() {
    List<Parcel> taken = new ArrayList<>();
    while (take(taken)) {
      try {
        write(taken);
      } catch (Throwable e) {
        // An error, too: nobody else would write what waits here.
        fail(e instanceof IOException io ? io : new IOException(e), taken);
        return;
      }
      taken.forEach(parcel -> parcel.sent.run());
      taken.clear();
    }
  }

  private void write(List<Parcel> parcels) throws IOException {
    List<ByteBuffer> piece = new ArrayList<>();
    int bytes = 0;
    for (Parcel parcel : parcels) {
      for (ByteBuffer part : parcel.parts) {
        while (part.hasRemaining()) {
          int here = Math.min(part.remaining(), PIECE - bytes);
          piece.add(part.slice(part.position(), here));
          part.position(part.position() + here);
          bytes += here;
          if (bytes == PIECE) {
            writePiece(piece);
            bytes = 0;
          }
        }
      }
    }
    writePiece(piece);
  }

  private void writePiece(List<ByteBuffer> piece) throws IOException {
    begun = System.nanoTime() | 1;
    transport.write(piece.toArray(new ByteBuffer[0]));
    begun = 0;
    piece.clear();
  }

  /**
   * Whether the client has taken nothing for longer than so many nanoseconds, though there is
   * something to take.
   *
   * @param now in the terms of {@link System#nanoTime}
   */
  boolean stuck(long now, long nanos) {
    long since = begun;
    return since != 0 && now - since > nanos;
  }

  private synchronized boolean take(List<Parcel> taken) {
    while (!waiting.isEmpty() && taken.size() < TOGETHER) {
      taken.add(waiting.remove());
    }
    sending = !taken.isEmpty();
    return sending;
  }

  private void fail(IOException e, List<Parcel> taken) {
    synchronized (this) {
      broken = e;
      sending = false;
      taken.addAll(waiting);
      waiting.clear();
    }
    try {
      // The reader is woken up: nothing that it could still be told would arrive.
      transport.close();
    } catch (IOException second) {
      e.addSuppressed(second);
    }
    taken.forEach(parcel -> parcel.sent.run());
  }
}
