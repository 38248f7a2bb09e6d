package dev.imago.storage;

import dev.imago.internal.Buffers;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicLong;

/** Reads as zero and forgets what is written to it; only its size is kept. Never closed. */
public final class NullStorage implements Storage {
  private final String name;
  private final AtomicLong size;

  /**
   * All zeroes.
   *
   * @param size in bytes, not negative; a write past it makes the storage longer
   */
  public NullStorage(String name, long size) {
    Ranges.check(0, size);
    this.name = name;
    this.size = new AtomicLong(size);
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public boolean readOnly() {
    return false;
  }

  @Override
  public int requestAlignment() {
    return 1;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) {
    Ranges.checkDestination(dst, hostOffset);
    Buffers.zero(dst);
  }

  @Override
  public boolean readNow(ByteBuffer dst, long hostOffset) {
    read(dst, hostOffset);
    return true;
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) {
    grow(hostOffset, src.remaining());
    src.position(src.limit());
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) {
    grow(hostOffset, length);
  }

  private void grow(long hostOffset, long length) {
    Ranges.check(hostOffset, length);
    if (length > 0) {
      size.accumulateAndGet(hostOffset + length, Math::max);
    }
  }

  @Override
  public boolean zeroesCheaply() {
    return true;
  }

  @Override
  public boolean discard(long hostOffset, long length) {
    Ranges.check(hostOffset, length);
    return true;
  }

  @Override
  public Run run(long hostOffset, long maxLength) {
    Ranges.checkRun(hostOffset, maxLength);
    return new Run(false, Math.clamp(size.get() - hostOffset, 1, maxLength));
  }

  @Override
  public long size() {
    return size.get();
  }

  @Override
  public long allocatedBytes() {
    return 0;
  }

  @Override
  public void resize(long newSize, Preallocation preallocation) {
    Ranges.check(0, newSize);
    size.set(newSize);
  }

  @Override
  public void flush() {}

  @Override
  public void close() {}
}
