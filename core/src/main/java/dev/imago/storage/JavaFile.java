package dev.imago.storage;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * A file without foreign functions. {@link RandomAccessFile} and not a channel, because no
 * interrupt closes it; the price is that requests wait for each other.
 */
final class JavaFile implements HostFile {
  /** The platform copies each request through memory of its own. */
  private static final int LARGEST = 1 << 20;

  private final String name;
  private final RandomAccessFile file;
  private final ProcessLocks.Share share;
  private final Object identity;
  private final @Nullable Path realPath;
  private final byte[] scratch = new byte[64 * 1024];
  private boolean closed;

  /**
   * Takes over an open file.
   *
   * @param realPath where it was when it was opened
   */
  JavaFile(
      String name,
      RandomAccessFile file,
      ProcessLocks.Share share,
      Object identity,
      @Nullable Path realPath) {
    this.name = name;
    this.file = file;
    this.share = share;
    this.identity = identity;
    this.realPath = realPath;
  }

  @Override
  public synchronized void read(ByteBuffer dst, long at) throws IOException {
    long next = at;
    try {
      seek(at);
      while (dst.hasRemaining()) {
        int n;
        if (dst.hasArray()) {
          int most = Math.min(dst.remaining(), LARGEST);
          n = file.read(dst.array(), dst.arrayOffset() + dst.position(), most);
          if (n > 0) {
            dst.position(dst.position() + n);
          }
        } else {
          n = file.read(scratch, 0, Math.min(scratch.length, dst.remaining()));
          if (n > 0) {
            dst.put(scratch, 0, n);
          }
        }
        if (n <= 0) {
          return;
        }
        next += n;
      }
    } catch (IOException e) {
      throw failed(e, "read of " + dst.remaining() + " bytes", next);
    }
  }

  @Override
  public synchronized void write(ByteBuffer src, long at) throws IOException {
    long next = at;
    try {
      seek(at);
      while (src.hasRemaining()) {
        int n = Math.min(scratch.length, src.remaining());
        src.get(src.position(), scratch, 0, n);
        file.write(scratch, 0, n);
        src.position(src.position() + n);
        next += n;
      }
    } catch (IOException e) {
      throw failed(e, "write of " + src.remaining() + " bytes", next);
    }
  }

  private void seek(long at) throws IOException {
    requireOpen();
    file.seek(at);
  }

  private void requireOpen() throws IOException {
    if (closed) {
      throw new IOException("the storage is closed");
    }
  }

  @Override
  public synchronized void truncate(long size) throws IOException {
    try {
      requireOpen();
      file.setLength(size);
    } catch (IOException e) {
      throw failed(e, "resize to " + size, -1);
    }
  }

  @Override
  public Storage.Run run(long at, long maxLength) throws IOException {
    return new Storage.Run(true, Math.clamp(size() - at, 1, maxLength));
  }

  @Override
  public synchronized long size() throws IOException {
    try {
      requireOpen();
      return file.length();
    } catch (IOException e) {
      throw failed(e, "size", -1);
    }
  }

  @Override
  public Object identity() {
    return identity;
  }

  @Override
  public @Nullable Path realPath() {
    return realPath;
  }

  @Override
  public synchronized void sync() throws IOException {
    try {
      requireOpen();
      file.getFD().sync();
    } catch (IOException e) {
      throw failed(e, "flush", -1);
    }
  }

  @Override
  public synchronized void close() throws IOException {
    if (!closed) {
      closed = true;
      share.close();
    }
  }

  private IOException failed(IOException e, String what, long at) {
    var failure = new StorageIoException(name, String.valueOf(e.getMessage()), what, at);
    failure.initCause(e);
    return failure;
  }
}
