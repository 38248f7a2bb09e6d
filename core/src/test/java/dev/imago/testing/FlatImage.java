package dev.imago.testing;

import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.WritableRun;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.ZeroMode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.Optional;

/**
 * The simplest disk that keeps every promise of {@link Image}: guest bytes lie in a storage as they
 * are. For tests of the fixtures, and for backing images made by hand.
 */
public final class FlatImage implements Image {
  private static final int CLUSTER = 4096;

  private final Storage storage;
  private final boolean readOnly;

  /** A disk of the storage's size; owns it. */
  public FlatImage(Storage storage, boolean readOnly) {
    this.storage = storage;
    this.readOnly = readOnly;
  }

  @Override
  public String name() {
    return storage.name();
  }

  @Override
  public String format() {
    return "flat";
  }

  @Override
  public long size() {
    try {
      return storage.size();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public boolean readOnly() {
    return readOnly;
  }

  @Override
  public int clusterSize() {
    return CLUSTER;
  }

  @Override
  public Optional<Image> backing() {
    return Optional.empty();
  }

  @Override
  public void read(ByteBuffer dst, long guestOffset) throws IOException {
    Objects.checkFromIndexSize(guestOffset, dst.remaining(), size());
    storage.read(dst, guestOffset);
  }

  @Override
  public boolean readNow(ByteBuffer dst, long guestOffset) {
    return false;
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException {
    long length = 0;
    for (ByteBuffer src : srcs) {
      length += src.remaining();
    }
    requireWritable(guestOffset, length);
    storage.write(srcs, guestOffset);
    if (fua) {
      storage.flush();
    }
  }

  @Override
  public void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua)
      throws IOException {
    requireWritable(guestOffset, length);
    storage.writeZeroes(guestOffset, length, mayUnmap ? ZeroMode.SPARSE : ZeroMode.ALLOCATED);
    if (fua) {
      storage.flush();
    }
  }

  @Override
  public Range discard(long guestOffset, long length, Discard kind) throws IOException {
    requireWritable(guestOffset, length);
    long end = guestOffset + length;
    long from = (guestOffset + CLUSTER - 1) / CLUSTER * CLUSTER;
    long to = end == size() ? end : end / CLUSTER * CLUSTER;
    if (from >= to) {
      return new Range(guestOffset, 0);
    }
    storage.writeZeroes(from, to - from, ZeroMode.SPARSE);
    return new Range(from, to - from);
  }

  @Override
  public Mapping map(long guestOffset, long maxLength) throws IOException {
    if (guestOffset >= size()) {
      return new Mapping.End();
    }
    long length = Math.min(maxLength, size() - guestOffset);
    return new Mapping.Data(storage, guestOffset, length, !readOnly);
  }

  @Override
  public WritableRun reserve(long guestOffset, long length, boolean overwrite) {
    requireWritable(guestOffset, length);
    return new WritableRun() {
      @Override
      public Storage storage() {
        return storage;
      }

      @Override
      public long hostOffset() {
        return guestOffset;
      }

      @Override
      public long length() {
        return length;
      }

      @Override
      public void commit() {}

      @Override
      public void close() {}
    };
  }

  @Override
  public Pin pin() {
    return () -> {};
  }

  @Override
  public void flush() throws IOException {
    storage.flush();
  }

  @Override
  public void resize(long size, Preallocation preallocation, boolean shrink) throws IOException {
    requireWritable(0, 0);
    storage.resize(size, preallocation);
  }

  @Override
  public void invalidateCache() throws IOException {
    storage.invalidateCache();
  }

  @Override
  public void close() throws IOException {
    if (!readOnly) {
      storage.flush();
    }
    storage.close();
  }

  private void requireWritable(long guestOffset, long length) {
    Objects.checkFromIndexSize(guestOffset, length, size());
    if (readOnly) {
      throw new ReadOnlyImageException(name());
    }
  }
}
