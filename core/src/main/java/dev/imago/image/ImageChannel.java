package dev.imago.image;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.NonWritableChannelException;
import java.nio.channels.SeekableByteChannel;

/** A position over an image, for callers that want a channel. One thread at a time. */
final class ImageChannel implements SeekableByteChannel {
  private final Image image;
  private long position;
  private boolean open = true;

  ImageChannel(Image image) {
    this.image = image;
  }

  @Override
  public int read(ByteBuffer dst) throws IOException {
    requireOpen();
    if (position >= image.size()) {
      return dst.hasRemaining() ? -1 : 0;
    }
    int length = (int) Math.min(dst.remaining(), image.size() - position);
    ByteBuffer part = dst.slice(dst.position(), length);
    image.read(part, position);
    dst.position(dst.position() + length);
    position += length;
    return length;
  }

  @Override
  public int write(ByteBuffer src) throws IOException {
    requireOpen();
    if (image.readOnly()) {
      throw new NonWritableChannelException();
    }
    int length = src.remaining();
    if (length > image.size() - position) {
      throw new IOException(
          "%s: %d bytes at guest offset %d do not fit into a disk of %d bytes"
              .formatted(image.name(), length, position, image.size()));
    }
    image.write(src, position);
    position += length;
    return length;
  }

  @Override
  public long position() throws IOException {
    requireOpen();
    return position;
  }

  @Override
  public SeekableByteChannel position(long newPosition) throws IOException {
    requireOpen();
    if (newPosition < 0) {
      throw new IllegalArgumentException("negative position: " + newPosition);
    }
    position = newPosition;
    return this;
  }

  @Override
  public long size() throws IOException {
    requireOpen();
    return image.size();
  }

  /** Not supported: a view does not change the disk's size. */
  @Override
  public SeekableByteChannel truncate(long size) {
    throw new NonWritableChannelException();
  }

  @Override
  public boolean isOpen() {
    return open;
  }

  @Override
  public void close() {
    open = false;
  }

  private void requireOpen() throws ClosedChannelException {
    if (!open) {
      throw new ClosedChannelException();
    }
  }
}
