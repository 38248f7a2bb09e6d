package dev.imago.filter;

import dev.imago.image.Image;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Compresses what is written in whole clusters: QEMU's {@code compress}. Parts of clusters are
 * written as they are.
 */
public final class CompressingImage extends FilterImage {

  /**
   * Compresses every write.
   *
   * @param below can hold compressed clusters; closed with this one
   */
  public CompressingImage(Image below) {
    super(below);
  }

  @Override
  public String format() {
    return "compress";
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException {
    long length = 0;
    for (ByteBuffer src : srcs) {
      length += src.remaining();
    }
    long unit = clusterSize();
    boolean whole =
        guestOffset % unit == 0 && (length % unit == 0 || guestOffset + length == size());
    if (!whole || length == 0 || length > Integer.MAX_VALUE - 8) {
      below.write(srcs, guestOffset, fua);
      return;
    }
    ByteBuffer all = ByteBuffer.allocate((int) length);
    for (ByteBuffer src : srcs) {
      all.put(src);
    }
    below.writeCompressed(all.flip(), guestOffset);
    if (fua) {
      below.flush();
    }
  }
}
