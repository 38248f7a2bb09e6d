package dev.imago.filter;

import dev.imago.image.CompressedRun;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.WritableRun;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Optional;

/** An image over another one, which is closed with it. All is as it is below. */
public abstract sealed class FilterImage implements Image
    permits CopyOnReadImage, CompressingImage, ThrottledImage {
  final Image below;

  FilterImage(Image below) {
    this.below = below;
  }

  @Override
  public String name() {
    return below.name();
  }

  @Override
  public long size() {
    return below.size();
  }

  @Override
  public boolean readOnly() {
    return below.readOnly();
  }

  @Override
  public int clusterSize() {
    return below.clusterSize();
  }

  @Override
  public Optional<Image> backing() {
    return below.backing();
  }

  @Override
  public void read(ByteBuffer dst, long guestOffset) throws IOException {
    below.read(dst, guestOffset);
  }

  @Override
  public boolean readNow(ByteBuffer dst, long guestOffset) throws IOException {
    return false;
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException {
    below.write(srcs, guestOffset, fua);
  }

  @Override
  public CompressedRun compress(ByteBuffer src, long guestOffset) throws IOException {
    return below.compress(src, guestOffset);
  }

  @Override
  public void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua)
      throws IOException {
    below.writeZeroes(guestOffset, length, mayUnmap, fua);
  }

  @Override
  public Range discard(long guestOffset, long length, Discard kind) throws IOException {
    return below.discard(guestOffset, length, kind);
  }

  @Override
  public Mapping map(long guestOffset, long maxLength) throws IOException {
    return below.map(guestOffset, maxLength);
  }

  @Override
  public WritableRun reserve(long guestOffset, long length, boolean overwrite) throws IOException {
    return below.reserve(guestOffset, length, overwrite);
  }

  @Override
  public Pin pin() {
    return below.pin();
  }

  @Override
  public void flush() throws IOException {
    below.flush();
  }

  @Override
  public void resize(long size, Preallocation preallocation, boolean shrink) throws IOException {
    below.resize(size, preallocation, shrink);
  }

  @Override
  public void growMapped(long size) throws IOException {
    below.growMapped(size);
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
