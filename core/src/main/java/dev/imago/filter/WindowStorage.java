package dev.imago.filter;

import dev.imago.storage.Storage;
import dev.imago.storage.StorageIoException;
import dev.imago.storage.StorageOver;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * A part of another storage as a storage of its own: QEMU's {@code raw} driver with {@code offset}
 * and {@code size}. Its size is fixed.
 */
public final class WindowStorage extends StorageOver {
  private static final int ENOSPC = 28;

  private final long start;
  private final long size;

  /**
   * A window.
   *
   * @param below closed with this one
   * @param start of the window, in bytes
   * @param size in bytes
   * @throws IllegalArgumentException if the window does not lie within {@code below}
   */
  public WindowStorage(Storage below, long start, long size) throws IOException {
    super(below);
    if (start < 0 || size < 0 || size > below.size() - start) {
      throw new IllegalArgumentException(
          "%d bytes from %d on do not lie within the %d bytes of %s"
              .formatted(size, start, below.size(), below.name()));
    }
    this.start = start;
    this.size = size;
  }

  /** As at the end of a device, nothing fits behind the window's end. */
  private long place(long hostOffset, long length) throws IOException {
    if (hostOffset < 0 || length < 0) {
      throw new IllegalArgumentException(
          "no such range: %d bytes at host offset %d".formatted(length, hostOffset));
    }
    if (length > size - hostOffset) {
      throw StorageIoException.ofErrno(name(), ENOSPC, "write", hostOffset);
    }
    return start + hostOffset;
  }

  @Override
  public int requestAlignment() {
    int alignment = below.requestAlignment();
    return start % alignment == 0 ? alignment : 1;
  }

  /** Bytes past the window's end read as zero, whatever stands there below. */
  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    int limit = dst.limit();
    int there = Math.clamp(size - hostOffset, 0, dst.remaining());
    dst.limit(dst.position() + there);
    below.read(dst, start + hostOffset);
    dst.limit(limit);
    while (dst.hasRemaining()) {
      dst.put((byte) 0);
    }
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    below.write(src, place(hostOffset, src.remaining()));
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    below.writeZeroes(place(hostOffset, length), length, mode);
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    long there = Math.clamp(size - hostOffset, 0L, length);
    return there == 0 || below.discard(place(hostOffset, there), there);
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    return below.run(start + hostOffset, Math.min(maxLength, size - hostOffset));
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public boolean fixedSize() {
    return true;
  }

  @Override
  public void resize(long newSize, Preallocation preallocation) throws IOException {
    throw new StorageIoException(name(), "Cannot resize fixed-size raw disks");
  }
}
