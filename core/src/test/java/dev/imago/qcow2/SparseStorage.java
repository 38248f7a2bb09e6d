package dev.imago.qcow2;

import dev.imago.storage.Storage;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.TreeMap;

/** Bytes here and there in a file of any size: knows the next data from any hole at once. */
final class SparseStorage implements Storage {
  private static final int PAGE = 1 << 16;

  private static final byte[] ZEROES = new byte[PAGE];

  private final TreeMap<Long, byte[]> pages = new TreeMap<>();
  private long size;

  @Override
  public String name() {
    return "sparse";
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
    for (long at = hostOffset; dst.hasRemaining(); ) {
      byte[] page = pages.get(at / PAGE);
      int step = (int) Math.min(PAGE - at % PAGE, dst.remaining());
      dst.put(page == null ? ZEROES : page, (int) (at % PAGE), step);
      at += step;
    }
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) {
    for (long at = hostOffset; src.hasRemaining(); ) {
      byte[] page = pages.computeIfAbsent(at / PAGE, number -> new byte[PAGE]);
      int step = (int) Math.min(PAGE - at % PAGE, src.remaining());
      src.get(page, (int) (at % PAGE), step);
      at += step;
      size = Math.max(size, at);
    }
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) {
    throw new UnsupportedOperationException();
  }

  @Override
  public boolean discard(long hostOffset, long length) {
    throw new UnsupportedOperationException();
  }

  @Override
  public Run run(long hostOffset, long maxLength) {
    Map.Entry<Long, byte[]> next = pages.ceilingEntry(hostOffset / PAGE);
    if (next == null) {
      return new Run(false, maxLength);
    }
    long start = next.getKey() * PAGE;
    return start <= hostOffset
        ? new Run(true, Math.min(maxLength, start + PAGE - hostOffset))
        : new Run(false, Math.min(maxLength, start - hostOffset));
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public long allocatedBytes() {
    return (long) pages.size() * PAGE;
  }

  @Override
  public void resize(long newSize, Preallocation preallocation) {
    size = newSize;
  }

  @Override
  public void flush() {}

  @Override
  public void close() {}
}
