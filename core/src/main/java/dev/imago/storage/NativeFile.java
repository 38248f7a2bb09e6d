package dev.imago.storage;

import dev.imago.internal.Buffers;
import dev.imago.internal.LinuxFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * A file or block device through Linux system calls. A thread's interrupt means nothing to them, so
 * one descriptor serves from open to close and an error of the device cannot be lost between two.
 */
final class NativeFile implements HostFile {
  private static final int BOUNCE = 1 << 20;
  private static final long SECTOR = 4096;

  private static final String CLOSED = "the storage is closed";

  private final String name;
  private final LinuxFile file;
  private final boolean blockDevice;
  private final @Nullable VirtualChannel virtual;

  private final CachedWrites writes;

  private final boolean cached;

  /** False once the file system has said that it cannot. */
  private volatile boolean readsNow = true;

  /**
   * Takes over an open file.
   *
   * @param cached whether reads and writes go through the page cache
   * @param virtual for the reads and writes of virtual threads, or null to let them block a carrier
   */
  NativeFile(
      String name,
      LinuxFile file,
      boolean blockDevice,
      boolean cached,
      @Nullable VirtualChannel virtual) {
    this.name = name;
    this.cached = cached;
    this.file = file;
    this.writes = new CachedWrites(file);
    this.blockDevice = blockDevice;
    this.virtual = virtual;
  }

  @Override
  public void read(ByteBuffer dst, long at) throws IOException {
    if (dst.isDirect()) {
      readDirect(dst, at);
      return;
    }
    long next = at;
    while (dst.hasRemaining()) {
      try (Buffers.Lease lease = Buffers.take(Math.min(dst.remaining(), BOUNCE))) {
        ByteBuffer bounce = lease.buffer();
        readDirect(bounce, next);
        boolean end = bounce.hasRemaining();
        next += bounce.position();
        dst.put(bounce.flip());
        if (end) {
          return;
        }
      }
    }
  }

  /**
   * Reads whole blocks into a direct buffer. A part of a block is the file's end; anywhere else it
   * is read again, because taking a bad sector for the end would turn what follows into zeroes.
   */
  void readBlocks(ByteBuffer dst, long at, int alignment) throws IOException {
    long next = at;
    long repeated = -1;
    while (dst.hasRemaining()) {
      long n = readOnce(dst, next);
      if (n == 0) {
        return;
      }
      if (n < 0) {
        retryOrFail(n, "read", dst.remaining(), next);
        continue;
      }
      int part = (int) (n & alignment - 1);
      next += n;
      if (part != 0) {
        if (next >= size()) {
          return;
        }
        next -= part;
        dst.position(dst.position() - part);
        if (next == repeated) {
          throw failed(-LinuxFile.EIO, "read", dst.remaining(), next + part);
        }
        repeated = next;
      }
    }
  }

  private void readDirect(ByteBuffer dst, long at) throws IOException {
    long next = at;
    while (dst.hasRemaining()) {
      long n = readOnce(dst, next);
      if (n == 0) {
        return;
      }
      if (n > 0) {
        next += n;
      } else {
        retryOrFail(n, "read", dst.remaining(), next);
      }
    }
  }

  /** One read, which moves the position; the kernel's answer. */
  private long readOnce(ByteBuffer dst, long at) throws IOException {
    if (virtual != null && Thread.currentThread().isVirtual()) {
      return Math.max(0, transfer(virtual, FileChannel::read, "read", dst, at));
    }
    long n = file.read(MemorySegment.ofBuffer(dst), at);
    if (n > 0) {
      dst.position(dst.position() + (int) n);
    }
    return n;
  }

  private long transfer(
      VirtualChannel channel,
      VirtualChannel.Transfer transfer,
      String what,
      ByteBuffer buffer,
      long at)
      throws IOException {
    try {
      return channel.transfer(transfer, buffer, at);
    } catch (ClosedChannelException e) {
      throw failed(CLOSED, what, buffer.remaining(), at);
    } catch (IOException e) {
      throw new StorageIoException(
          name, String.valueOf(e.getMessage()), what + " of " + buffer.remaining() + " bytes", at);
    }
  }

  @Override
  public void read(ByteBuffer[] dsts, long at) throws IOException {
    if (!asVector(dsts)) {
      HostFile.super.read(dsts, at);
      return;
    }
    long next = at;
    for (long left = Ranges.remaining(dsts); left > 0; ) {
      long n = file.read(dsts, next);
      if (n == 0) {
        return;
      }
      if (n > 0) {
        advance(dsts, n);
        next += n;
        left -= n;
      } else {
        retryOrFail(n, "read", left, next);
      }
    }
  }

  @Override
  public boolean prefetch(long at, long length) {
    return cached && file.willNeed(at, length) == 0;
  }

  @Override
  public boolean readNow(ByteBuffer dst, long at) throws IOException {
    if (!readsNow) {
      return false;
    }
    if (!dst.isDirect()) {
      try (Buffers.Lease lease = Buffers.take(dst.remaining())) {
        if (!readNow(lease.buffer(), at)) {
          return false;
        }
        dst.put(lease.buffer().flip());
        return true;
      }
    }
    long n = file.readNow(MemorySegment.ofBuffer(dst), at);
    if (n == -LinuxFile.EOPNOTSUPP || n == -LinuxFile.ENOSYS || n == -LinuxFile.EINVAL) {
      readsNow = false;
    }
    if (n < 0 || n < dst.remaining() && at + n < size()) {
      return false;
    }
    dst.position(dst.position() + (int) n);
    Buffers.zero(dst);
    return true;
  }

  @Override
  public void write(ByteBuffer src, long at) throws IOException {
    if (src.isDirect()) {
      writeDirect(src, at);
      return;
    }
    long next = at;
    while (src.hasRemaining()) {
      int length = Math.min(src.remaining(), BOUNCE);
      try (Buffers.Lease lease = Buffers.take(length)) {
        ByteBuffer bounce = lease.buffer();
        bounce.put(0, src, src.position(), length);
        writeDirect(bounce, next);
      }
      src.position(src.position() + length);
      next += length;
    }
  }

  private void writeDirect(ByteBuffer src, long at) throws IOException {
    boolean oneAtATime = cachedFile() && writes.begin(src.remaining());
    try {
      if (oneAtATime) {
        writes.reserve(at, src.remaining());
      }
      writeAll(src, at);
    } finally {
      if (oneAtATime) {
        writes.end();
      }
    }
  }

  private void writeAll(ByteBuffer src, long at) throws IOException {
    long next = at;
    while (src.hasRemaining()) {
      long n = writeOnce(src, next);
      if (n > 0) {
        next += n;
      } else {
        retryOrFail(n, "write", src.remaining(), next);
      }
    }
  }

  private long writeOnce(ByteBuffer src, long at) throws IOException {
    int piece = CachedWrites.piece(at);
    if (src.remaining() > piece && cachedFile()) {
      long n = writeOnce(src.slice(src.position(), piece), at);
      src.position(src.position() + (int) Math.max(n, 0));
      return n;
    }
    if (virtual != null && Thread.currentThread().isVirtual()) {
      return transfer(virtual, FileChannel::write, "write", src, at);
    }
    long n = file.write(MemorySegment.ofBuffer(src), at);
    if (n > 0) {
      src.position(src.position() + (int) n);
    }
    return n;
  }

  @Override
  public void write(ByteBuffer[] srcs, long at) throws IOException {
    if (!asVector(srcs)) {
      HostFile.super.write(srcs, at);
      return;
    }
    long length = Ranges.remaining(srcs);
    boolean oneAtATime = cachedFile() && writes.begin(length);
    try {
      if (oneAtATime) {
        writes.reserve(at, length);
      }
      long next = at;
      for (long left = length; left > 0; ) {
        long n = file.write(srcs, next, cachedFile() ? CachedWrites.piece(next) : left);
        if (n > 0) {
          advance(srcs, n);
          next += n;
          left -= n;
        } else {
          retryOrFail(n, "write", left, next);
        }
      }
    } finally {
      if (oneAtATime) {
        writes.end();
      }
    }
  }

  @Override
  public long copyFrom(HostFile source, long sourceOffset, long at, long length) {
    if (!(source instanceof NativeFile from) || !cachedFile() || !from.cachedFile()) {
      return 0;
    }
    boolean oneAtATime = cachedFile() && writes.begin(length);
    try {
      long done = 0;
      while (done < length) {
        long n = file.copyFrom(from.file, sourceOffset + done, at + done, length - done);
        if (n > 0) {
          done += n;
        } else if (n != -LinuxFile.EINTR) {
          break;
        }
      }
      return done;
    } finally {
      if (oneAtATime) {
        writes.end();
      }
    }
  }

  private boolean cachedFile() {
    return cached && !blockDevice;
  }

  @Override
  public boolean punch(long at, long length) throws IOException {
    if (!blockDevice) {
      return fallocate(LinuxFile.PUNCH_HOLE | LinuxFile.KEEP_SIZE, "discard", at, length);
    }
    // Devices take whole sectors only, of 4 KiB at most.
    long first = (at + SECTOR - 1) / SECTOR * SECTOR;
    long end = (at + length) / SECTOR * SECTOR;
    boolean done =
        first < end
            && fallocate(LinuxFile.PUNCH_HOLE | LinuxFile.KEEP_SIZE, "discard", first, end - first);
    return done && first == at && end == at + length;
  }

  @Override
  public boolean zero(long at, long length) throws IOException {
    int keep = blockDevice ? LinuxFile.KEEP_SIZE : 0;
    return fallocate(LinuxFile.ZERO_RANGE | keep, "write of zeroes", at, length);
  }

  @Override
  public boolean allocate(long at, long length) throws IOException {
    return !blockDevice && fallocate(0, "allocation", at, length);
  }

  private boolean fallocate(int mode, String what, long at, long length) throws IOException {
    while (true) {
      long r = file.fallocate(mode, at, length);
      if (r == 0) {
        return true;
      }
      if (r == -LinuxFile.EOPNOTSUPP
          || r == -LinuxFile.ENOSYS
          || r == -LinuxFile.ENODEV
          || r == -LinuxFile.EINVAL && blockDevice) { // not whole sectors
        return false;
      }
      retryOrFail(r, what, length, at);
    }
  }

  @Override
  public void truncate(long size) throws IOException {
    for (long r; (r = file.truncate(size)) != 0; ) {
      retryOrFail(r, "resize to " + size, -1, -1);
    }
  }

  /**
   * {@inheritDoc} Ext4 remembers that a file was emptied, and lays out all its dirty data on the
   * disk when any descriptor of it is next closed (auto_da_alloc): half a second for 2 GiB. Whoever
   * wants his data safe flushes; so let that close happen now, while there is none.
   */
  @Override
  public void empty() throws IOException {
    if (size() > 0) {
      truncate(0);
      if (file.reopen(LinuxFile.RDONLY) instanceof LinuxFile.Opened.File second) {
        second.file().close();
      }
    }
  }

  @Override
  public Storage.Run run(long at, long maxLength) throws IOException {
    long data = file.seek(at, LinuxFile.SEEK_DATA);
    if (data == -LinuxFile.ENXIO) {
      return new Storage.Run(false, Math.clamp(size() - at, 1, maxLength));
    }
    if (data > at) {
      return new Storage.Run(false, Math.min(data - at, maxLength));
    }
    long hole = data < 0 ? data : file.seek(at, LinuxFile.SEEK_HOLE);
    // An error here is a file system that cannot tell, or a file that became shorter just now.
    return new Storage.Run(true, hole > at ? Math.min(hole - at, maxLength) : maxLength);
  }

  @Override
  public long size() throws IOException {
    long size = file.seek(0, LinuxFile.SEEK_END);
    if (size < 0) {
      throw failed(size, "size", -1, -1);
    }
    return size;
  }

  @Override
  public long allocatedBytes() {
    LinuxFile.Stat stat = blockDevice ? null : file.stat();
    return stat == null ? -1 : stat.blocks() * 512;
  }

  @Override
  public @Nullable Object identity() {
    LinuxFile.Stat stat = file.stat();
    return stat == null ? null : OpenWays.Key.of(stat);
  }

  @Override
  public Path realPath() throws IOException {
    return Files.readSymbolicLink(Path.of(file.procName()));
  }

  @Override
  public void sync() throws IOException {
    for (long r; (r = file.sync()) != 0; ) {
      retryOrFail(r, "flush", -1, -1);
    }
  }

  @Override
  public void close() throws IOException {
    if (virtual != null) {
      virtual.close();
    }
    long r = file.close();
    if (r < 0 && r != -LinuxFile.EINTR) {
      throw failed(r, "close", -1, -1);
    }
  }

  private void retryOrFail(long result, String what, long length, long at) throws IOException {
    if (result != -LinuxFile.EINTR) {
      throw failed(result, what, length, at);
    }
  }

  private IOException failed(long result, String what, long length, long at) {
    if (result == -LinuxFile.EBADF) {
      // A bad descriptor of a storage that nobody closed is the mistake of other code.
      return failed(
          file.isClosed() ? CLOSED : "Bad file descriptor: it was closed by other code",
          what,
          length,
          at);
    }
    String reason = result == 0 ? "nothing was written" : Errno.text((int) -result);
    return failed(reason, what, length, at);
  }

  private IOException failed(String reason, String what, long length, long at) {
    return new StorageIoException(
        name, reason, length < 0 ? what : what + " of " + length + " bytes", at);
  }

  private boolean asVector(ByteBuffer[] buffers) {
    if (virtual != null && Thread.currentThread().isVirtual()) {
      return false;
    }
    for (ByteBuffer buffer : buffers) {
      if (!buffer.isDirect()) {
        return false;
      }
    }
    return true;
  }

  private static void advance(ByteBuffer[] buffers, long n) {
    long left = n;
    for (ByteBuffer buffer : buffers) {
      int step = (int) Math.min(left, buffer.remaining());
      buffer.position(buffer.position() + step);
      left -= step;
    }
  }
}
