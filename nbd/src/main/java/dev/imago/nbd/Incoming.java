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

  /**
   * Nothing was received yet.
   *
   * @param buffer where it will be; its contents do not matter
   */
  Incoming(Transport transport, ByteBuffer buffer) {
    this.transport = transport;
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
        if (transport.read(buffer) < 0) {
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
      if (transport.read(dst) < 0) {
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
  }

  /** Refuses what was sent ahead of an encrypted stream. */
  void requireEmpty() throws NbdProtocolException {
    if (buffer.hasRemaining()) {
      throw new NbdProtocolException(
          buffer.remaining() + " bytes follow STARTTLS before it was answered");
    }
  }
}
