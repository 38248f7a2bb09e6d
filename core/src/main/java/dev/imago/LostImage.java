package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.WritableRun;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Optional;

/**
 * Stands in a rescue for a backing image that is not there. None of its bytes can be read, and
 * nobody knows how long it was: longer than whatever stands on it.
 */
final class LostImage implements Image {
  private static final long ENDLESS = 1L << 62;

  private final String name;
  private final IOException why;

  /** An image that could not be opened for this reason, which whoever reads it is told. */
  LostImage(String name, IOException why) {
    this.name = name;
    this.why = why;
  }

  private IOException lost() {
    return new IOException(why.getMessage(), why);
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public String format() {
    return Formats.RAW;
  }

  @Override
  public long size() {
    return ENDLESS;
  }

  @Override
  public boolean readOnly() {
    return true;
  }

  @Override
  public int clusterSize() {
    return 1;
  }

  @Override
  public Optional<Image> backing() {
    return Optional.empty();
  }

  @Override
  public void read(ByteBuffer dst, long guestOffset) throws IOException {
    throw lost();
  }

  @Override
  public boolean readNow(ByteBuffer dst, long guestOffset) {
    return false;
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) {
    throw new ReadOnlyImageException(name);
  }

  @Override
  public void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua) {
    throw new ReadOnlyImageException(name);
  }

  @Override
  public Range discard(long guestOffset, long length, Discard kind) {
    throw new ReadOnlyImageException(name);
  }

  @Override
  public Mapping map(long guestOffset, long maxLength) throws IOException {
    throw lost();
  }

  @Override
  public WritableRun reserve(long guestOffset, long length, boolean overwrite) {
    throw new ReadOnlyImageException(name);
  }

  @Override
  public Pin pin() {
    return () -> {};
  }

  @Override
  public void flush() {}

  @Override
  public void resize(long size, Preallocation preallocation, boolean shrink) {
    throw new ReadOnlyImageException(name);
  }

  @Override
  public void invalidateCache() {}

  @Override
  public void close() {}
}
