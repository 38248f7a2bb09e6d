package dev.imago.filter;

import dev.imago.image.CompressedRun;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.image.WritableRun;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * Copies what a read found in the backing image into the image itself, by whole clusters: QEMU's
 * {@code copy-on-read}. What guests see never changes by it.
 *
 * <p>Copying holds back all writes of this image, so that it cannot bring back what a write has
 * just replaced.
 */
public final class CopyOnReadImage extends FilterImage {
  private static final int MAX_COPY = 2 << 20;

  /** Shared by what changes guest bytes, exclusive for a copy. */
  private final ReentrantReadWriteLock changes = new ReentrantReadWriteLock();

  /**
   * Copies on every read.
   *
   * @param below writable; closed with this one
   */
  public CopyOnReadImage(Image below) {
    super(below);
    if (below.readOnly()) {
      throw new IllegalArgumentException(below.name() + " is read-only: nothing can be copied");
    }
  }

  @Override
  public String format() {
    return "copy-on-read";
  }

  @Override
  public void read(ByteBuffer dst, long guestOffset) throws IOException {
    long end = guestOffset + dst.remaining();
    for (long at = guestOffset; at < end && at < size(); ) {
      Mapping mapping = below.map(at, end - at);
      long next = at + mapping.length();
      if (mapping instanceof Mapping.Backing) {
        copy(at, next);
      }
      at = next;
    }
    below.read(dst, guestOffset);
  }

  /** Copies the clusters around a range, as far as they still are the backing image's. */
  private void copy(long from, long to) throws IOException {
    long unit = clusterSize();
    long end = Math.min((to + unit - 1) / unit * unit, size());
    changes.writeLock().lock();
    try {
      for (long at = from / unit * unit; at < end; ) {
        Mapping mapping = below.map(at, Math.min(end - at, MAX_COPY));
        if (mapping instanceof Mapping.Backing) {
          ByteBuffer bytes = ByteBuffer.allocate((int) mapping.length());
          below.read(bytes, at);
          if (bytes.flip().mismatch(ByteBuffer.allocate(bytes.limit())) < 0) {
            below.writeZeroes(at, bytes.limit(), false, false);
          } else {
            below.write(bytes, at);
          }
        }
        at += mapping.length();
      }
    } finally {
      changes.writeLock().unlock();
    }
  }

  /** A change of guest bytes. */
  private interface Change<T> {
    T make() throws IOException;
  }

  private <T> T changing(Change<T> change) throws IOException {
    changes.readLock().lock();
    try {
      return change.make();
    } finally {
      changes.readLock().unlock();
    }
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException {
    changing(
        () -> {
          below.write(srcs, guestOffset, fua);
          return true;
        });
  }

  @Override
  public void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua)
      throws IOException {
    changing(
        () -> {
          below.writeZeroes(guestOffset, length, mayUnmap, fua);
          return true;
        });
  }

  @Override
  public Range discard(long guestOffset, long length, Discard kind) throws IOException {
    return changing(() -> below.discard(guestOffset, length, kind));
  }

  /** Refused: it would be written without our knowing when. */
  @Override
  public CompressedRun compress(ByteBuffer src, long guestOffset) throws IOException {
    throw new UnsupportedFeatureException(
        name(), -1, "copy-on-read", "compressed clusters are written to the image below it");
  }

  /** Refused: it would be written without our knowing when. */
  @Override
  public WritableRun reserve(long guestOffset, long length, boolean overwrite) throws IOException {
    throw new UnsupportedFeatureException(
        name(), -1, "copy-on-read", "space is reserved in the image below it");
  }
}
