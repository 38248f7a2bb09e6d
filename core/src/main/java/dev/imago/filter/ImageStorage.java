package dev.imago.filter;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.storage.Storage;
import dev.imago.storage.StorageIoException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Objects;

/**
 * The disk of an image as the place of another image, as if it were a block device: a format over a
 * format. The image is flushed and closed with this.
 *
 * <p>Its size is fixed, that of the disk: what does not fit fails with {@code No space left on
 * device}, and nothing of it is written. (QEMU 7.2 takes such writes, and cannot find them again.)
 * Holes are what the image and its backing chain know to be zero. As safe for many threads as the
 * image is.
 */
public final class ImageStorage implements Storage {
  private final Image image;
  private final Storage under;

  /**
   * Stands over an image.
   *
   * @param image closed with this one
   * @param under where the image itself is kept, asked for the host space in use; not closed
   */
  public ImageStorage(Image image, Storage under) {
    this.image = image;
    this.under = under;
  }

  @Override
  public String name() {
    return image.name();
  }

  @Override
  public boolean readOnly() {
    return image.readOnly();
  }

  /** The image's unit of allocation in bytes; see {@link Image#clusterSize()}. */
  public int clusterSize() {
    return image.clusterSize();
  }

  @Override
  public int requestAlignment() {
    return 1;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    Objects.checkFromIndexSize(hostOffset, dst.remaining(), Long.MAX_VALUE);
    int inside = Math.clamp(size() - hostOffset, 0, dst.remaining());
    int end = dst.limit();
    if (inside > 0) {
      image.read(dst.limit(dst.position() + inside), hostOffset);
    }
    dst.limit(end);
    while (dst.hasRemaining()) {
      dst.put((byte) 0);
    }
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    requireRoom("write", hostOffset, src.remaining());
    image.write(src, hostOffset);
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    requireRoom("write of zeroes", hostOffset, length);
    image.writeZeroes(hostOffset, length, mode == ZeroMode.SPARSE, false);
  }

  private void requireRoom(String what, long hostOffset, long length) throws IOException {
    Objects.checkFromIndexSize(hostOffset, length, Long.MAX_VALUE);
    if (hostOffset + length > size()) {
      throw new StorageIoException(
          name(),
          "No space left on device",
          "%s of %d bytes, the disk of this %s image has %d"
              .formatted(what, length, image.format(), size()),
          hostOffset);
    }
  }

  @Override
  public boolean zeroesCheaply() {
    return under.zeroesCheaply();
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    Objects.checkFromIndexSize(hostOffset, length, Long.MAX_VALUE);
    long inside = Math.clamp(size() - hostOffset, 0, length);
    if (inside == 0) {
      return true;
    }
    Image.Range zero = image.discard(hostOffset, inside, Image.Discard.TO_ZERO);
    return zero.guestOffset() == hostOffset && zero.length() >= inside;
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    Extent extent = image.resolve(hostOffset, maxLength);
    return new Run(!extent.zero(), extent.length());
  }

  @Override
  public long size() {
    return image.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return under.allocatedBytes();
  }

  @Override
  public boolean fixedSize() {
    return true;
  }

  /** {@inheritDoc} The disk keeps its size: asking for another one is an error. */
  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    if (size != size()) {
      throw new StorageIoException(name(), "an image below another format cannot be resized");
    }
  }

  @Override
  public void flush() throws IOException {
    image.flush();
  }

  @Override
  public void invalidateCache() throws IOException {
    image.invalidateCache();
  }

  /** {@inheritDoc} The image is flushed, for it has metadata that is not written yet. */
  @Override
  public void close() throws IOException {
    image.close();
  }
}
