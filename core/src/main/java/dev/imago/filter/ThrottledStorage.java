package dev.imago.filter;

import dev.imago.storage.Storage;
import dev.imago.storage.StorageOver;
import java.io.IOException;
import java.nio.ByteBuffer;

/** A storage whose requests wait for a {@link ThrottleGroup}: QEMU's {@code throttle}. */
public final class ThrottledStorage extends StorageOver {
  private final ThrottleGroup group;

  /**
   * Slows a storage down.
   *
   * @param below closed with this one
   */
  public ThrottledStorage(Storage below, ThrottleGroup group) {
    super(below);
    this.group = group;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    group.await(false, dst.remaining());
    below.read(dst, hostOffset);
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    group.await(true, src.remaining());
    below.write(src, hostOffset);
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    group.await(true, length);
    below.writeZeroes(hostOffset, length, mode);
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    group.await(true, length);
    return below.discard(hostOffset, length);
  }
}
