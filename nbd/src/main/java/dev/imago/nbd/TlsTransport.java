package dev.imago.nbd;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.locks.ReentrantLock;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;
import javax.net.ssl.SSLEngineResult.Status;
import javax.net.ssl.SSLException;

/**
 * TLS over a socket, by the JDK's engine. What the other end sent in clear before is not seen here:
 * whoever starts TLS makes sure that nothing of it is left.
 *
 * <p>The end of the stream is taken for what it is with or without TLS's own farewell: NBD's
 * messages have lengths, and half of one is noticed.
 */
final class TlsTransport implements Transport {
  /** Records that are sealed before they are written together. */
  private static final int RECORDS = 8;

  private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

  private final PlainTransport below;
  private final SSLEngine engine;
  private final ReentrantLock writing = new ReentrantLock();

  /** What came from the socket and is not opened yet, from position to limit. */
  private final ByteBuffer received;

  /** What was opened and nobody has taken yet, from position to limit. */
  private ByteBuffer opened;

  /** Where records are sealed; written and emptied before the lock is given back. */
  private final ByteBuffer sealed;

  private TlsTransport(PlainTransport below, SSLEngine engine) {
    int packet = engine.getSession().getPacketBufferSize();
    this.below = below;
    this.engine = engine;
    this.received = ByteBuffer.allocateDirect(RECORDS * packet).limit(0);
    this.opened = ByteBuffer.allocate(engine.getSession().getApplicationBufferSize()).limit(0);
    this.sealed = ByteBuffer.allocateDirect(RECORDS * packet);
  }

  /**
   * Agrees on keys with the other end. If that fails, {@code below} stays open.
   *
   * @param below nothing that belongs to TLS may have been read from it yet
   * @throws SSLException if the other end is not who it should be, or not wanted
   */
  static TlsTransport over(PlainTransport below, SSLEngine engine) throws IOException {
    TlsTransport tls = new TlsTransport(below, engine);
    engine.beginHandshake();
    try {
      tls.handshake();
    } catch (SSLException e) {
      tls.tellWhy(e);
      throw e;
    }
    return tls;
  }

  private void handshake() throws IOException {
    HandshakeStatus status = engine.getHandshakeStatus();
    while (status != HandshakeStatus.FINISHED && status != HandshakeStatus.NOT_HANDSHAKING) {
      status =
          switch (status) {
            case NEED_TASK -> {
              runTasks();
              yield engine.getHandshakeStatus();
            }
            case NEED_WRAP -> seal();
            case NEED_UNWRAP, NEED_UNWRAP_AGAIN -> {
              opened.clear();
              SSLEngineResult result = engine.unwrap(received, opened);
              opened.flip();
              if (result.getStatus() == Status.BUFFER_UNDERFLOW && !fill()) {
                throw new EOFException("the other end has left in the middle of the TLS handshake");
              }
              if (result.getStatus() == Status.CLOSED) {
                throw new SSLException("the other end has ended TLS in the handshake");
              }
              yield result.getHandshakeStatus();
            }
            case FINISHED, NOT_HANDSHAKING -> status;
          };
    }
  }

  /** Seals what the engine itself has to say, and writes it. */
  private HandshakeStatus seal() throws IOException {
    SSLEngineResult result = engine.wrap(NOTHING, sealed);
    flushSealed();
    return result.getHandshakeStatus();
  }

  /** The alert that the engine has made of a failure; the other end should hear it. */
  private void tellWhy(SSLException e) {
    try {
      engine.closeOutbound();
      while (engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP && !engine.isOutboundDone()) {
        seal();
      }
    } catch (IOException second) {
      e.addSuppressed(second);
    }
  }

  private void runTasks() {
    for (Runnable task = engine.getDelegatedTask(); task != null; ) {
      task.run();
      task = engine.getDelegatedTask();
    }
  }

  /** Reads from the socket; false at its end. */
  private boolean fill() throws IOException {
    received.compact();
    try {
      return below.read(received) > 0;
    } finally {
      received.flip();
    }
  }

  @Override
  public int read(ByteBuffer dst) throws IOException {
    while (!opened.hasRemaining()) {
      // Whole records are opened where they are wanted.
      boolean inPlace = dst.remaining() >= engine.getSession().getApplicationBufferSize();
      ByteBuffer into = inPlace ? dst : opened.clear();
      SSLEngineResult result;
      try {
        result = engine.unwrap(received, into);
      } finally {
        if (!inPlace) {
          opened.flip();
        }
      }
      switch (result.getStatus()) {
        case OK -> afterwards(result.getHandshakeStatus());
        case BUFFER_UNDERFLOW -> {
          if (!fill()) {
            return -1;
          }
        }
        case BUFFER_OVERFLOW ->
            opened = ByteBuffer.allocate(engine.getSession().getApplicationBufferSize()).limit(0);
        case CLOSED -> {
          return -1;
        }
      }
      if (inPlace && result.bytesProduced() > 0) {
        return result.bytesProduced();
      }
    }
    int n = Math.min(dst.remaining(), opened.remaining());
    dst.put(opened.slice(opened.position(), n));
    opened.position(opened.position() + n);
    return n;
  }

  @Override
  public boolean more(ByteBuffer dst, long nanos) throws IOException {
    if (opened.hasRemaining() || received.hasRemaining()) {
      return true;
    }
    received.clear();
    try {
      return below.more(received, nanos);
    } finally {
      received.flip();
    }
  }

  /** New keys and the like, which may come between any two records. */
  private void afterwards(HandshakeStatus status) throws IOException {
    if (status == HandshakeStatus.NEED_TASK) {
      runTasks();
    }
    // Whoever is writing takes the engine's own messages along.
    if (status == HandshakeStatus.NEED_WRAP && writing.tryLock()) {
      try {
        seal();
      } finally {
        writing.unlock();
      }
    }
  }

  @Override
  public void write(ByteBuffer... srcs) throws IOException {
    writing.lock();
    try {
      int packet = engine.getSession().getPacketBufferSize();
      int last = srcs.length - 1;
      while (last >= 0 && !srcs[last].hasRemaining()) {
        last--;
      }
      while (last >= 0 && srcs[last].hasRemaining()) {
        if (sealed.remaining() < packet) {
          flushSealed();
        }
        SSLEngineResult result = engine.wrap(srcs, sealed);
        if (result.getStatus() != Status.OK) {
          throw new EOFException("TLS has ended: " + result.getStatus());
        }
        if (result.getHandshakeStatus() == HandshakeStatus.NEED_TASK) {
          runTasks();
        }
      }
      flushSealed();
    } finally {
      sealed.clear();
      writing.unlock();
    }
  }

  private void flushSealed() throws IOException {
    sealed.flip();
    below.write(sealed);
    sealed.clear();
  }

  @Override
  public void end() throws IOException {
    writing.lock();
    try {
      engine.closeOutbound();
      while (!engine.isOutboundDone()) {
        if (engine.wrap(NOTHING, sealed).getStatus() == Status.CLOSED) {
          break;
        }
      }
      flushSealed();
    } finally {
      sealed.clear();
      writing.unlock();
    }
    below.end();
  }

  @Override
  public void close() throws IOException {
    below.close();
  }
}
