package dev.imago.storage;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Reads and writes of virtual threads. A foreign function that blocks keeps its carrier thread from
 * all others, and nothing makes up for it; a {@link FileChannel} does better. An interrupt closes
 * the channel, for everybody in it; then it is opened again from the descriptor that the storage
 * keeps, whatever has become of the file's name, and the request is repeated.
 *
 * <p>Never used for a flush: a descriptor that is opened after the system lost a write may not be
 * told of it.
 */
final class VirtualChannel {
  private final Path descriptor;
  private final boolean writable;
  private @Nullable FileChannel channel;
  private boolean closed;

  /** Will open {@code descriptor}, a name below /proc, when it is first needed. */
  VirtualChannel(String descriptor, boolean writable) {
    this.descriptor = Path.of(descriptor);
    this.writable = writable;
  }

  /** One positional transfer. */
  interface Transfer {
    int run(FileChannel channel, ByteBuffer buffer, long at) throws IOException;
  }

  /** Repeats a transfer until no interrupt has hit it; moves the position. Its result. */
  int transfer(Transfer transfer, ByteBuffer buffer, long at) throws IOException {
    boolean interrupted = Thread.interrupted();
    try {
      while (true) {
        try {
          // Not the buffer itself: the position moves even if the channel is closed in the middle.
          int n = transfer.run(channel(), buffer.duplicate(), at);
          buffer.position(buffer.position() + Math.max(0, n));
          return n;
        } catch (ClosedChannelException e) {
          if (isClosed()) {
            throw e;
          }
          interrupted |= Thread.interrupted();
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private synchronized FileChannel channel() throws IOException {
    if (closed) {
      throw new ClosedChannelException();
    }
    if (channel == null || !channel.isOpen()) {
      Set<? extends OpenOption> how =
          writable
              ? Set.of(StandardOpenOption.READ, StandardOpenOption.WRITE)
              : Set.of(StandardOpenOption.READ);
      channel = FileChannel.open(descriptor, how);
    }
    return channel;
  }

  private synchronized boolean isClosed() {
    return closed;
  }

  /** Closes the channel; requests in it fail. */
  synchronized void close() throws IOException {
    closed = true;
    if (channel != null) {
      channel.close();
    }
  }
}
