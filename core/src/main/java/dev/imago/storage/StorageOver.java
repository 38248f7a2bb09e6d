package dev.imago.storage;

import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * A storage over another one, which is closed with it. Everything is handed on as it comes; who
 * extends this changes what is to be different.
 *
 * <p>All bytes come and go by {@link #read(ByteBuffer, long)}, {@link #write(ByteBuffer, long)},
 * {@link #writeZeroes} and {@link #discard}: requests with several buffers are taken apart into
 * these, and {@link #readNow} and {@link #copyFrom} do nothing, so that no bytes pass by who
 * changes them on their way.
 */
public abstract class StorageOver implements Storage {
  /** The storage below. */
  protected final Storage below;

  /**
   * Stands over {@code below}.
   *
   * @param below closed with this one
   */
  protected StorageOver(Storage below) {
    this.below = below;
  }

  @Override
  public String name() {
    return below.name();
  }

  @Override
  public boolean readOnly() {
    return below.readOnly();
  }

  @Override
  public int requestAlignment() {
    return below.requestAlignment();
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    below.read(dst, hostOffset);
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    below.write(src, hostOffset);
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    below.writeZeroes(hostOffset, length, mode);
  }

  @Override
  public boolean zeroesCheaply() {
    return below.zeroesCheaply();
  }

  @Override
  public boolean holesReadAsZero() {
    return below.holesReadAsZero();
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    return below.discard(hostOffset, length);
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    return below.run(hostOffset, maxLength);
  }

  @Override
  public long size() throws IOException {
    return below.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return below.allocatedBytes();
  }

  @Override
  public boolean fixedSize() {
    return below.fixedSize();
  }

  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    below.resize(size, preallocation);
  }

  @Override
  public void event(BlockEvent event) {
    below.event(event);
  }

  @Override
  public void flush() throws IOException {
    below.flush();
  }

  @Override
  public void invalidateCache() throws IOException {
    below.invalidateCache();
  }

  @Override
  public void close() throws IOException {
    below.close();
  }
}
