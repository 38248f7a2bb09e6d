package dev.imago.filter;

import dev.imago.image.CompressedRun;
import dev.imago.image.Image;
import dev.imago.image.WritableRun;
import java.io.IOException;
import java.nio.ByteBuffer;

/** An image whose requests wait for a {@link ThrottleGroup}: QEMU's {@code throttle}. */
public final class ThrottledImage extends FilterImage {
  private final ThrottleGroup group;

  /**
   * Slows an image down.
   *
   * @param below closed with this one
   */
  public ThrottledImage(Image below, ThrottleGroup group) {
    super(below);
    this.group = group;
  }

  @Override
  public String format() {
    return "throttle";
  }

  @Override
  public void read(ByteBuffer dst, long guestOffset) throws IOException {
    group.await(false, dst.remaining());
    below.read(dst, guestOffset);
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException {
    long length = 0;
    for (ByteBuffer src : srcs) {
      length += src.remaining();
    }
    group.await(true, length);
    below.write(srcs, guestOffset, fua);
  }

  @Override
  public CompressedRun compress(ByteBuffer src, long guestOffset) throws IOException {
    group.await(true, src.remaining());
    return below.compress(src, guestOffset);
  }

  @Override
  public void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua)
      throws IOException {
    group.await(true, length);
    below.writeZeroes(guestOffset, length, mayUnmap, fua);
  }

  @Override
  public Range discard(long guestOffset, long length, Discard kind) throws IOException {
    group.await(true, length);
    return below.discard(guestOffset, length, kind);
  }

  /** Waits as for a write: what the caller writes there does not come by here. */
  @Override
  public WritableRun reserve(long guestOffset, long length, boolean overwrite) throws IOException {
    WritableRun run = below.reserve(guestOffset, length, overwrite);
    group.await(true, run.length());
    return run;
  }
}
