package dev.imago.nbd;

import java.io.EOFException;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * A socket as it is: TCP or Unix.
 *
 * <p>A channel in blocking mode waits in the system call itself, which is fastest; an interrupt
 * closes it, so that only threads of our own may use it. A channel in non-blocking mode waits in a
 * selector: an interrupt is put off until the call returns, and {@link #deadline} holds.
 */
final class PlainTransport implements Transport {
  private final SocketChannel channel;
  private final ReentrantLock writing = new ReentrantLock();
  private final Wait toRead;
  private final Wait toWrite;
  private volatile long deadline = Long.MAX_VALUE;

  /** Takes over a connected channel, in the mode that it is in and stays in between the calls. */
  PlainTransport(SocketChannel channel) {
    this.channel = channel;
    this.toRead = new Wait(SelectionKey.OP_READ);
    this.toWrite = new Wait(SelectionKey.OP_WRITE);
  }

  /**
   * Until when reads and writes wait before they fail with {@link SocketTimeoutException}; of a
   * channel in non-blocking mode.
   *
   * @param nanoTime in the terms of {@link System#nanoTime}, or {@link Long#MAX_VALUE} for ever
   */
  void deadline(long nanoTime) {
    deadline = nanoTime;
  }

  @Override
  public int read(ByteBuffer dst) throws IOException {
    while (true) {
      int n = channel.read(dst);
      if (n != 0) {
        return n;
      }
      toRead.await();
    }
  }

  @Override
  public boolean more(ByteBuffer dst, long nanos) throws IOException {
    if (!channel.isBlocking()) {
      return look(dst, nanos);
    }
    channel.configureBlocking(false);
    try {
      return look(dst, nanos);
    } finally {
      channel.configureBlocking(true);
    }
  }

  private boolean look(ByteBuffer dst, long nanos) throws IOException {
    long begun = nanos == 0 ? 0 : System.nanoTime();
    while (channel.read(dst) == 0) {
      if (nanos == 0 || System.nanoTime() - begun >= nanos) {
        return false;
      }
      Thread.onSpinWait();
    }
    return true;
  }

  @Override
  public void write(ByteBuffer... srcs) throws IOException {
    writing.lock();
    try {
      int first = 0;
      while (true) {
        while (first < srcs.length && !srcs[first].hasRemaining()) {
          first++;
        }
        if (first == srcs.length) {
          return;
        }
        if (channel.write(srcs, first, srcs.length - first) == 0) {
          toWrite.await();
        }
      }
    } finally {
      writing.unlock();
    }
  }

  @Override
  public void end() throws IOException {
    channel.shutdownOutput();
  }

  @Override
  public void close() throws IOException {
    channel.close();
    toRead.close();
    toWrite.close();
  }

  /** Waiting for the socket in one direction; by one thread at a time. */
  private final class Wait {
    private final int operation;
    private @Nullable Selector selector;
    private boolean closed;

    Wait(int operation) {
      this.operation = operation;
    }

    void await() throws IOException {
      Selector waiting = selector();
      boolean interrupted = false;
      try {
        while (true) {
          long left = millisLeft();
          int ready = left < 0 ? waiting.select() : waiting.select(left);
          interrupted |= Thread.interrupted();
          waiting.selectedKeys().clear();
          if (ready > 0) {
            return;
          }
          if (!waiting.isOpen()) {
            throw new EOFException("closed here");
          }
        }
      } catch (ClosedSelectorException e) {
        throw new EOFException("closed here");
      } finally {
        if (interrupted) {
          Thread.currentThread().interrupt();
        }
      }
    }

    /** At least 1; negative if there is no deadline. */
    private long millisLeft() throws SocketTimeoutException {
      if (deadline == Long.MAX_VALUE) {
        return -1;
      }
      long nanos = deadline - System.nanoTime();
      if (nanos <= 0) {
        throw new SocketTimeoutException("the other end did not answer in time");
      }
      return TimeUnit.NANOSECONDS.toMillis(nanos) + 1;
    }

    private synchronized Selector selector() throws IOException {
      if (closed) {
        throw new EOFException("closed here");
      }
      if (selector == null) {
        Selector opened = channel.provider().openSelector();
        channel.register(opened, operation);
        selector = opened;
      }
      return selector;
    }

    synchronized void close() throws IOException {
      closed = true;
      if (selector != null) {
        selector.close();
      }
    }
  }
}
