package dev.imago.nbd;

import dev.imago.nbd.wire.NbdProtocolException;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;

/** What a client has sent and nobody has looked at yet. For the connection's own thread. */
final class Incoming {
  /** So much is received at once. */
  static final int BYTES = 256 << 10;

  private Transport transport;
  private final ByteBuffer buffer;
  private final Farewell farewell;

  /**
   * Nothing was received yet.
   *
   * @param buffer where it will be; its contents do not matter
   * @param farewell ends the stream for us when we have said our last
   */
  Incoming(Transport transport, ByteBuffer buffer, Farewell farewell) {
    this.transport = transport;
    this.farewell = farewell;
    this.buffer = buffer.clear().limit(0);
  }

  /** Received bytes, from position to limit; the caller moves the position past what it used. */
  ByteBuffer buffer() {
    return buffer;
  }

  /** Whether so many bytes are at hand. */
  boolean has(int bytes) {
    return buffer.remaining() >= bytes;
  }

  /**
   * Receives until so many bytes are at hand.
   *
   * @param bytes at most {@link #BYTES}
   * @return false if the client has sent its last, and nothing is at hand
   * @throws EOFException if it has sent its last in the middle of something
   */
  boolean fill(int bytes) throws IOException {
    if (buffer.remaining() >= bytes) {
      return true;
    }
    buffer.compact();
    try {
      while (buffer.position() < bytes) {
        if (receive(buffer) < 0) {
          if (buffer.position() == 0) {
            return false;
          }
          throw new EOFException("the client has gone in the middle of a message");
        }
      }
    } finally {
      buffer.flip();
    }
    return true;
  }

  /** Waits for the client; -1 if it has sent its last, or we have. */
  private int receive(ByteBuffer dst) throws IOException {
    if (!farewell.waits()) {
      return -1;
    }
    int n;
    boolean goesOn;
    try {
      n = transport.read(dst);
    } finally {
      goesOn = farewell.goesOn();
    }
    return goesOn ? n : -1;
  }

  /**
   * Whether the client has sent anything more, or its last.
   *
   * @param nanos as in {@link Transport#more}
   */
  boolean more(long nanos) throws IOException {
    if (buffer.hasRemaining()) {
      return true;
    }
    buffer.clear();
    try {
      return transport.more(buffer, nanos);
    } finally {
      buffer.flip();
    }
  }

  /** As {@link #fill}, where the client may not leave. */
  void require(int bytes) throws IOException {
    if (!fill(bytes)) {
      throw new EOFException("the client has gone in the middle of a message");
    }
  }

  /** Receives what is still missing in {@code dst}, from its position to its limit. */
  void read(ByteBuffer dst) throws IOException {
    int here = Math.min(buffer.remaining(), dst.remaining());
    dst.put(buffer.slice(buffer.position(), here));
    buffer.position(buffer.position() + here);
    while (dst.hasRemaining()) {
      if (receive(dst) < 0) {
        throw new EOFException("the client has gone in the middle of its data");
      }
    }
  }

  /** Receives so many bytes and forgets them. */
  void skip(long bytes) throws IOException {
    long left = bytes;
    while (left > 0) {
      require(1);
      int here = (int) Math.min(left, buffer.remaining());
      buffer.position(buffer.position() + here);
      left -= here;
    }
  }

  /** Goes on with TLS. */
  void switchTo(Transport encrypted) {
    transport = encrypted;
    farewell.switchTo(encrypted);
  }

  /** Refuses what was sent ahead of an encrypted stream. */
  void requireEmpty() throws NbdProtocolException {
    if (buffer.hasRemaining()) {
      throw new NbdProtocolException(
          buffer.remaining() + " bytes follow STARTTLS before it was answered");
    }
  }
}
