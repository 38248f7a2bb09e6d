package dev.imago.storage;

import dev.imago.internal.Buffers;
import dev.imago.internal.LinuxFile;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * A regular file or a block device of the host.
 *
 * <p>With native access (Linux) requests are system calls on one descriptor, which no interrupt can
 * close. Without it, or on another system, {@link java.io.RandomAccessFile} serves: every byte is
 * as safe, but requests wait for each other, nothing is given back to the host, holes are not seen,
 * and space is preallocated by writing zeroes ({@code docs/decisions/}).
 *
 * <p>A buffer whose memory belongs to an arena must stay open as long as a request uses it.
 */
public final class FileStorage implements Storage {
  private final String name;
  private final HostFile file;
  private final Options options;
  private final boolean blockDevice;
  private final OpenWays.Ticket ticket;
  private final Object resizing = new Object();
  private volatile @Nullable IOException flushFailure;

  private FileStorage(
      String name, HostFile file, Options options, boolean blockDevice, OpenWays.Ticket ticket) {
    this.name = name;
    this.file = file;
    this.options = options;
    this.blockDevice = blockDevice;
    this.ticket = ticket;
  }

  /**
   * How a file is opened.
   *
   * @param writable whether it may be changed
   * @param direct whether the host's page cache is bypassed (O_DIRECT); needs native access
   * @param lock whether QEMU's advisory locks are taken: a reader's, or those of the only writer.
   *     Without them others may change the file at the same time (QEMU's force-share)
   * @param nativeAccess false to do with the JDK alone where system calls would be allowed: linking
   *     foreign functions takes a short-lived program tens of milliseconds. A file that this JVM
   *     has open is opened the way it already is
   */
  public record Options(boolean writable, boolean direct, boolean lock, boolean nativeAccess) {

    /** Reads, through the page cache, locked against writers. */
    public static Options readOnly() {
      return new Options(false, false, true, true);
    }

    /** Reads and writes, through the page cache, locked against everybody. */
    public static Options readWrite() {
      return new Options(true, false, true, true);
    }

    /** The same with or without the page cache. */
    public Options withDirect(boolean bypass) {
      return new Options(writable, bypass, lock, nativeAccess);
    }

    /** The same with or without locks. */
    public Options withLock(boolean take) {
      return new Options(writable, direct, take, nativeAccess);
    }

    /** The same with or without foreign functions, should they be granted at all. */
    public Options withNativeAccess(boolean use) {
      return new Options(writable, direct, lock, use);
    }
  }

  /**
   * Opens a file that exists. What it is gets judged on the opened descriptor: a FIFO, a socket, a
   * directory or a character device is refused, and none of them is waited for.
   *
   * @throws java.nio.file.NoSuchFileException if there is no such file
   * @throws java.nio.file.AccessDeniedException if the system forbids it
   * @throws StorageLockedException if somebody else uses the file in a way that excludes this
   * @throws java.nio.file.FileSystemException for every other reason
   */
  public static FileStorage open(Path path, Options options) throws IOException {
    return FileOpener.open(path, options, FileOpener.Existence.REQUIRED);
  }

  /**
   * Makes a file, or opens one and empties it. An existing file is emptied only after the writer's
   * lock is held, so that a file in use is left as it is; the lock is taken whatever the options
   * say, and given back afterwards if they do not want it. A block device keeps its bytes.
   *
   * @throws StorageLockedException if somebody uses the file; it is unchanged then
   * @throws IllegalArgumentException if the options are not writable
   */
  public static FileStorage create(Path path, Options options) throws IOException {
    requireWritable(options);
    return FileOpener.open(path, options, FileOpener.Existence.NEW);
  }

  /**
   * Makes a file, or opens one and leaves it as it is until {@link #empty}: for whoever must know
   * that all else is well before he gives its bytes up. Locks are those of the options.
   *
   * @throws StorageLockedException if somebody uses the file
   * @throws IllegalArgumentException if the options are not writable
   */
  public static FileStorage ensure(Path path, Options options) throws IOException {
    requireWritable(options);
    return FileOpener.open(path, options, FileOpener.Existence.ENSURED);
  }

  private static void requireWritable(Options options) {
    if (!options.writable()) {
      throw new IllegalArgumentException("a file cannot be created read-only");
    }
  }

  /** Takes all bytes of a file away. A block device keeps its bytes. */
  public void empty() throws IOException {
    requireWritable();
    if (!blockDevice) {
      synchronized (resizing) {
        file.empty();
      }
    }
  }

  static FileStorage of(
      String name, HostFile file, Options options, boolean blockDevice, OpenWays.Ticket ticket) {
    return new FileStorage(name, file, options, blockDevice, ticket);
  }

  /** Whether both are the same file, whatever their names are; false if that is not known. */
  public boolean isSameFile(FileStorage other) throws IOException {
    Object identity = file.identity();
    return identity != null && identity.equals(other.file.identity());
  }

  /**
   * Where the file that was opened is now, symbolic links resolved: asked of the descriptor, not of
   * its name. Null if the system does not say.
   */
  public @Nullable Path realPath() throws IOException {
    return file.realPath();
  }

  /** Whether this process may use the system calls that make a file storage fast and complete. */
  public static boolean nativeAccess() {
    return LinuxFile.available();
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public boolean readOnly() {
    return !options.writable();
  }

  @Override
  public int requestAlignment() {
    return file.requestAlignment();
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    Ranges.checkDestination(dst, hostOffset);
    file.read(dst, hostOffset);
    Buffers.zero(dst);
  }

  @Override
  public void read(ByteBuffer[] dsts, long hostOffset) throws IOException {
    Ranges.checkDestinations(dsts, hostOffset);
    file.read(dsts, hostOffset);
    for (ByteBuffer dst : dsts) {
      Buffers.zero(dst);
    }
  }

  @Override
  public boolean prefetch(long hostOffset, long length) {
    return file.prefetch(hostOffset, length);
  }

  @Override
  public boolean readNow(ByteBuffer dst, long hostOffset) throws IOException {
    Ranges.checkDestination(dst, hostOffset);
    return !dst.hasRemaining() || file.readNow(dst, hostOffset);
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    requireWritable();
    Ranges.check(hostOffset, src.remaining());
    file.write(src, hostOffset);
  }

  @Override
  public void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    requireWritable();
    Ranges.check(hostOffset, Ranges.remaining(srcs));
    file.write(srcs, hostOffset);
  }

  /**
   * {@inheritDoc} It is for regular files, neither of which bypasses the host's cache, and needs
   * native access. Between two file systems the kernel does nothing.
   */
  @Override
  public long copyFrom(Storage source, long sourceOffset, long hostOffset, long length)
      throws IOException {
    requireWritable();
    Ranges.check(sourceOffset, length);
    Ranges.check(hostOffset, length);
    Storage from = source;
    while (from instanceof TaggedStorage<?> tagged) {
      from = tagged.below;
    }
    return from instanceof FileStorage other
        ? file.copyFrom(other.file, sourceOffset, hostOffset, length)
        : 0;
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    requireWritable();
    Ranges.check(hostOffset, length);
    if (length == 0) {
      return;
    }
    long toWrite = length;
    if (mode == ZeroMode.SPARSE) {
      long size = file.size();
      grow(hostOffset + length, size);
      if (hostOffset >= size && !blockDevice) {
        return; // a hole already but for its last block, and a punch would wait for the disk
      }
      if (file.punch(hostOffset, length)) {
        return;
      }
      if (!blockDevice) {
        toWrite = Math.min(length, size - hostOffset); // what lies behind is a hole already
      }
    }
    if (toWrite > 0 && !file.zero(hostOffset, toWrite)) {
      writeOut(hostOffset, toWrite);
    }
  }

  /**
   * Makes the file at least this long without ever making it shorter, which truncating to a size
   * asked for just before could do. Touches one byte of the caller's own range, its last.
   */
  private void grow(long end, long size) throws IOException {
    if (end > size && !blockDevice && !(options.direct() && file.allocate(end - 1, 1))) {
      file.write(Buffers.zeroes(1), end - 1);
    }
  }

  private void writeOut(long hostOffset, long length) throws IOException {
    for (long done = 0; done < length; ) {
      ByteBuffer zeroes = Buffers.zeroes(length - done);
      int step = zeroes.remaining();
      file.write(zeroes, hostOffset + done);
      done += step;
    }
  }

  @Override
  public boolean zeroesCheaply() {
    return options.nativeAccess() && LinuxFile.available();
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    requireWritable();
    Ranges.check(hostOffset, length);
    long kept = Math.min(length, file.size() - hostOffset);
    return kept <= 0 || file.punch(hostOffset, kept);
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    Ranges.checkRun(hostOffset, maxLength);
    return file.run(hostOffset, maxLength);
  }

  @Override
  public long size() throws IOException {
    return file.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return file.allocatedBytes();
  }

  @Override
  public boolean fixedSize() {
    return blockDevice;
  }

  /**
   * {@inheritDoc} If the new space cannot be had, the file gets its old size back. A block device
   * keeps its size: asking for another one is an error.
   */
  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    requireWritable();
    Ranges.check(size, 0);
    synchronized (resizing) {
      long before = file.size();
      if (blockDevice) {
        if (size != before) {
          throw new StorageIoException(name, "a block device cannot be resized");
        }
      } else if (size <= before || preallocation == Preallocation.OFF) {
        file.truncate(size);
      } else {
        growWithSpace(before, size, preallocation);
      }
    }
  }

  private void growWithSpace(long before, long size, Preallocation preallocation)
      throws IOException {
    try {
      boolean reserved =
          preallocation == Preallocation.FALLOC && file.allocate(before, size - before);
      if (!reserved) {
        writeOut(before, size - before);
      }
    } catch (IOException | RuntimeException e) {
      try {
        file.truncate(before);
      } catch (IOException second) {
        e.addSuppressed(second);
      }
      throw e;
    }
  }

  /**
   * {@inheritDoc} After a failure every later flush fails too: the system reports a lost write once
   * and forgets it.
   */
  @Override
  public void flush() throws IOException {
    IOException earlier = flushFailure;
    if (earlier != null) {
      throw new StorageIoException(name, "an earlier flush failed: " + reason(earlier));
    }
    if (!options.writable()) {
      return;
    }
    try {
      file.sync();
    } catch (IOException e) {
      flushFailure = e;
      throw e;
    }
  }

  private static @Nullable String reason(IOException e) {
    return e instanceof StorageIoException s ? s.getReason() : e.getMessage();
  }

  @Override
  public void close() throws IOException {
    try {
      file.close();
    } finally {
      ticket.close();
    }
  }

  private void requireWritable() {
    if (!options.writable()) {
      throw new IllegalStateException(name + " is open read-only");
    }
  }
}
