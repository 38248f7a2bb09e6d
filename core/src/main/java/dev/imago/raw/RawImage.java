package dev.imago.raw;

import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.SyncMode;
import dev.imago.image.WritableRun;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.ZeroMode;
import dev.imago.storage.StorageOver;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.AccessDeniedException;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.locks.StampedLock;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/** A storage seen as a disk. */
final class RawImage implements Image {
  private final Storage storage;
  private final boolean writable;
  private final SyncMode sync;
  private final Predicate<ByteBuffer> firstSector;

  /** Requests hold it shared while they run; close, resize and new sizes wait for all of them. */
  private final StampedLock running = new StampedLock();

  private boolean closed;
  private volatile long size;

  /** Whoever flushes while another does waits for that one, and mostly finds nothing left to do. */
  private final Object flushing = new Object();

  /** Whether something was written that no flush has covered. Set after the write has ended. */
  private volatile boolean dirty;

  /** What a flush failed with. The host may have dropped what it could not write: no way back. */
  private volatile @Nullable IOException lost;

  RawImage(Storage storage, boolean writable, SyncMode sync, Predicate<ByteBuffer> firstSector)
      throws IOException {
    this.storage = storage;
    this.writable = writable;
    this.sync = sync;
    this.firstSector = firstSector;
    this.size = wholeSectors(storage.size());
  }

  private static long wholeSectors(long bytes) {
    long rounded = (bytes + Raw.SECTOR - 1) & -Raw.SECTOR;
    return rounded < 0 ? bytes : rounded;
  }

  @Override
  public String name() {
    return storage.name();
  }

  @Override
  public String format() {
    return "raw";
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public boolean readOnly() {
    return !writable;
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
    long stamp = enter();
    try {
      Objects.checkFromIndexSize(guestOffset, dst.remaining(), size);
      storage.read(dst, guestOffset);
    } finally {
      running.unlockRead(stamp);
    }
  }

  @Override
  public void read(ByteBuffer[] dsts, long guestOffset) throws IOException {
    long stamp = enter();
    try {
      Objects.checkFromIndexSize(guestOffset, remaining(dsts), size);
      storage.read(dsts, guestOffset);
    } finally {
      running.unlockRead(stamp);
    }
  }

  @Override
  public boolean readNow(ByteBuffer dst, long guestOffset) throws IOException {
    long stamp = running.tryReadLock();
    if (stamp == 0) {
      return false;
    }
    try {
      requireOpen();
      Objects.checkFromIndexSize(guestOffset, dst.remaining(), size);
      return storage.readNow(dst, guestOffset);
    } finally {
      running.unlockRead(stamp);
    }
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException {
    long stamp = enter();
    try {
      long length = remaining(srcs);
      beforeChange(guestOffset, length);
      if (length == 0) {
        return;
      }
      if (guestOffset < Raw.SECTOR) {
        guardFirstSector(srcs, guestOffset, length);
      }
      try {
        storage.write(srcs, guestOffset);
      } finally {
        dirty = true;
      }
      if (fua) {
        flushStorage();
      }
    } finally {
      running.unlockRead(stamp);
    }
  }

  @Override
  public void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua)
      throws IOException {
    long stamp = enter();
    try {
      beforeChange(guestOffset, length);
      if (length == 0) {
        return;
      }
      try {
        storage.writeZeroes(guestOffset, length, mayUnmap ? ZeroMode.SPARSE : ZeroMode.ALLOCATED);
      } finally {
        dirty = true;
      }
      if (fua) {
        flushStorage();
      }
    } finally {
      running.unlockRead(stamp);
    }
  }

  @Override
  public Range discard(long guestOffset, long length, Discard kind) throws IOException {
    long stamp = enter();
    try {
      beforeChange(guestOffset, length);
      // What lies behind the storage's end is zero already: the storage must not grow for it.
      long inStorage = Math.min(length, storage.size() - guestOffset);
      if (inStorage <= 0) {
        return new Range(guestOffset, length);
      }
      try {
        discardInStorage(guestOffset, inStorage, kind);
        return new Range(guestOffset, length);
      } finally {
        dirty = true;
      }
    } finally {
      running.unlockRead(stamp);
    }
  }

  private void discardInStorage(long from, long length, Discard kind) throws IOException {
    switch (kind) {
      case TO_ANY -> storage.discard(from, length);
      case TO_ZERO, TO_BACKING -> storage.writeZeroes(from, length, ZeroMode.SPARSE);
      case TO_ZERO_KEEPING_SPACE -> zeroData(from, length);
    }
  }

  /** Zeroes what is there, and leaves holes as they are. */
  private void zeroData(long from, long length) throws IOException {
    for (long at = from; at < from + length; ) {
      Storage.Run run = storage.run(at, from + length - at);
      if (run.data()) {
        storage.writeZeroes(at, run.length(), ZeroMode.ALLOCATED);
      }
      at += run.length();
    }
  }

  @Override
  public Mapping map(long guestOffset, long maxLength) throws IOException {
    if (guestOffset < 0 || maxLength < 1) {
      throw new IndexOutOfBoundsException("%d + %d".formatted(guestOffset, maxLength));
    }
    long stamp = enter();
    try {
      if (guestOffset >= size) {
        return new Mapping.End();
      }
      long length = Math.min(maxLength, size - guestOffset);
      long inStorage = storage.size() - guestOffset;
      if (inStorage <= 0) {
        return new Mapping.Zero(length, true, guestOffset);
      }
      Storage.Run run = storage.run(guestOffset, Math.min(length, inStorage));
      return run.data()
          ? new Mapping.Data(storage, guestOffset, run.length(), writable)
          : new Mapping.Zero(run.length(), true, guestOffset);
    } finally {
      running.unlockRead(stamp);
    }
  }

  @Override
  public WritableRun reserve(long guestOffset, long length, boolean overwrite) throws IOException {
    long stamp = enter();
    try {
      if (length < 1) {
        throw new IndexOutOfBoundsException("length " + length);
      }
      beforeChange(guestOffset, length);
      return new InPlace(guestOffset, length);
    } finally {
      running.unlockRead(stamp);
    }
  }

  /** Guest bytes never move in a raw image: there is nothing to hold. */
  @Override
  public Pin pin() {
    return () -> {};
  }

  @Override
  public void flush() throws IOException {
    long stamp = enter();
    try {
      flushStorage();
    } finally {
      running.unlockRead(stamp);
    }
  }

  private void flushStorage() throws IOException {
    synchronized (flushing) {
      IOException earlier = lost;
      if (earlier != null) {
        throw lostData(earlier);
      }
      if (!dirty || sync == SyncMode.NONE) {
        return;
      }
      dirty = false;
      try {
        storage.flush();
      } catch (IOException e) {
        lost = e;
        throw e;
      }
    }
  }

  @Override
  public void resize(long newSize, Preallocation preallocation, boolean shrink) throws IOException {
    long stamp = running.writeLock();
    try {
      requireOpen();
      if (newSize < 0) {
        throw new IllegalArgumentException("size " + newSize);
      }
      requireWritable();
      // The bytes that count are the storage's: a file that grows within its last sector grows.
      if (newSize < storage.size() && !shrink) {
        throw new IllegalArgumentException(
            "%s: %d bytes would be cut off".formatted(name(), storage.size() - newSize));
      }
      try {
        storage.resize(newSize, preallocation);
      } finally {
        dirty = true;
        size = wholeSectors(storage.size());
      }
    } finally {
      running.unlockWrite(stamp);
    }
  }

  @Override
  public void invalidateCache() throws IOException {
    long stamp = running.writeLock();
    try {
      requireOpen();
      storage.invalidateCache();
      size = wholeSectors(storage.size());
    } finally {
      running.unlockWrite(stamp);
    }
  }

  @Override
  public void close() throws IOException {
    long stamp = running.writeLock();
    try {
      if (closed) {
        return;
      }
      closed = true;
      try (storage) {
        if (writable) {
          flushStorage();
        }
      }
    } finally {
      running.unlockWrite(stamp);
    }
  }

  private long enter() {
    long stamp = running.readLock();
    try {
      requireOpen();
      return stamp;
    } catch (IllegalStateException e) {
      running.unlockRead(stamp);
      throw e;
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException(name() + " is closed");
    }
  }

  private void requireWritable() throws IOException {
    if (!writable) {
      throw new ReadOnlyImageException(name());
    }
    IOException earlier = lost;
    if (earlier != null) {
      throw lostData(earlier);
    }
  }

  private void beforeChange(long guestOffset, long length) throws IOException {
    Objects.checkFromIndexSize(guestOffset, length, size);
    requireWritable();
  }

  private IOException lostData(IOException earlier) {
    return new IOException(
        "%s: a flush has failed before (%s): what was written may be lost"
            .formatted(name(), earlier.getMessage()),
        earlier);
  }

  private void guardFirstSector(ByteBuffer[] srcs, long guestOffset, long length)
      throws IOException {
    ByteBuffer sector = ByteBuffer.allocate(Raw.SECTOR);
    if (guestOffset > 0 || length < Raw.SECTOR) {
      storage.read(sector, 0);
    }
    sector.clear().position((int) guestOffset);
    for (ByteBuffer src : srcs) {
      sector.put(src.slice(src.position(), Math.min(src.remaining(), sector.remaining())));
    }
    if (!firstSector.test(sector.clear())) {
      throw new AccessDeniedException(
          name(), null, "the first sector of a probed raw image must not look like another format");
    }
  }

  private static long remaining(ByteBuffer[] buffers) {
    long sum = 0;
    for (ByteBuffer buffer : buffers) {
      sum += buffer.remaining();
    }
    return sum;
  }

  /** The storage for callers who write to the first sector themselves. */
  private final class Guarded extends StorageOver {
    Guarded() {
      super(storage);
    }

    @Override
    public void write(ByteBuffer src, long hostOffset) throws IOException {
      if (hostOffset < Raw.SECTOR) {
        guardFirstSector(new ByteBuffer[] {src}, hostOffset, src.remaining());
      }
      below.write(src, hostOffset);
    }
  }

  /** Guest bytes that are written where they are. */
  private final class InPlace implements WritableRun {
    private final long offset;
    private final long length;

    InPlace(long offset, long length) {
      this.offset = offset;
      this.length = length;
    }

    @Override
    public Storage storage() {
      return offset < Raw.SECTOR ? new Guarded() : storage;
    }

    @Override
    public long hostOffset() {
      return offset;
    }

    @Override
    public long length() {
      return length;
    }

    /** The caller has written behind our back: the next flush must not find that nothing was. */
    @Override
    public void commit() {
      dirty = true;
    }

    @Override
    public void close() {
      dirty = true;
    }
  }
}
