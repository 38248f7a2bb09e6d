package dev.imago.internal;

import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * One descriptor of the Linux kernel, through the foreign-function API. Knows system calls and
 * nothing else: no retries, no error texts, no offsets but those given.
 *
 * <p>Every call answers as the kernel does: a result of at least 0, or the negated errno. A
 * thread's interrupt status has no meaning here. The calls block and pin a virtual thread to its
 * carrier.
 *
 * <p>All go through one function ({@link Syscall}): linking one costs more than 10 ms of start-up,
 * for each signature anew.
 */
public final class LinuxFile {

  /** Flags of {@link #open}. */
  public static final int RDONLY = 0, RDWR = 2, CREAT = 0100, NOCTTY = 0400, NONBLOCK = 04000;

  /** The flag that bypasses the page cache; its number depends on the processor. */
  public static final int DIRECT;

  /** Error numbers that callers decide on. */
  public static final int ENOENT = 2,
      EINTR = 4,
      EIO = 5,
      ENXIO = 6,
      EBADF = 9,
      EAGAIN = 11,
      EACCES = 13,
      ENODEV = 19,
      EINVAL = 22,
      ENOSPC = 28,
      ENOSYS = 38,
      EOPNOTSUPP = 95;

  /** Modes of {@link #fallocate}; 0 allocates and grows. */
  public static final int KEEP_SIZE = 1, PUNCH_HOLE = 2, ZERO_RANGE = 16;

  /** Where {@link #seek} goes to. */
  public static final int SEEK_END = 2, SEEK_DATA = 3, SEEK_HOLE = 4;

  private static final int CLOEXEC = 02000000;
  private static final int AT_FDCWD = -100;
  private static final int AT_EMPTY_PATH = 0x1000;
  private static final int STATX_BASIC_STATS = 0x7ff;
  private static final int STATX_DIOALIGN = 0x2000;
  private static final int F_OFD_GETLK = 36;
  private static final int F_OFD_SETLK = 37;
  private static final short F_RDLCK = 0;
  private static final short F_WRLCK = 1;
  private static final short F_UNLCK = 2;
  private static final int RWF_NOWAIT = 8;
  private static final int FADV_WILLNEED = 3;
  private static final int MAX_VECTORS = 64;
  private static final int CLOSED = Integer.MIN_VALUE;

  private static final boolean X86 = "amd64".equals(System.getProperty("os.arch"));
  private static final boolean AVAILABLE = available(System.getProperty("os.arch", ""));

  // x86-64 has its own numbers; aarch64 and riscv64 share the kernel's generic table.
  private static final int CLOSE = X86 ? 3 : 57;
  private static final int LSEEK = X86 ? 8 : 62;
  private static final int PREAD = X86 ? 17 : 67;
  private static final int PWRITE = X86 ? 18 : 68;
  private static final int FCNTL = X86 ? 72 : 25;
  private static final int FDATASYNC = X86 ? 75 : 83;
  private static final int FTRUNCATE = X86 ? 77 : 46;
  private static final int OPENAT = X86 ? 257 : 56;
  private static final int FADVISE = X86 ? 221 : 223;
  private static final int FSTATFS = X86 ? 138 : 44;
  private static final int FALLOCATE = X86 ? 285 : 47;
  private static final int PREADV = X86 ? 295 : 69;
  private static final int PWRITEV = X86 ? 296 : 70;
  private static final int COPY_FILE_RANGE = X86 ? 326 : 285;
  private static final int PREADV2 = X86 ? 327 : 286;
  private static final int STATX = X86 ? 332 : 291;

  static {
    DIRECT = "aarch64".equals(System.getProperty("os.arch")) ? 0200000 : 040000;
  }

  private final int fd;

  /** Calls under way; {@link #CLOSED} is added once no further ones may begin. */
  private final AtomicInteger users = new AtomicInteger();

  private LinuxFile(int fd) {
    this.fd = fd;
  }

  /** Whether this is a Linux that we know and native access has been granted to this module. */
  public static boolean available() {
    return AVAILABLE;
  }

  private static boolean available(String arch) {
    boolean known =
        switch (arch.toLowerCase(Locale.ROOT)) {
          case "amd64", "aarch64", "riscv64" -> true;
          default -> false;
        };
    return known
        && "Linux".equals(System.getProperty("os.name"))
        && LinuxFile.class.getModule().isNativeAccessEnabled();
  }

  /** Either an open file or the errno that opening it gave. */
  public sealed interface Opened {
    /** It was opened. */
    record File(LinuxFile file) implements Opened {}

    /** It was not: the errno, positive. */
    record Failed(int errno) implements Opened {}
  }

  /** Opens {@code path}, always with O_CLOEXEC; {@code mode} is for a file made by this call. */
  public static Opened open(String path, int flags, int mode) {
    long r = Syscall.call(OPENAT, AT_FDCWD, cString(path), flags | CLOEXEC, mode, 0, 0);
    return r < 0 ? new Opened.Failed((int) -r) : new Opened.File(new LinuxFile((int) r));
  }

  /** Opens the file of this descriptor once more, with other flags, wherever its name is now. */
  public Opened reopen(int flags) {
    return open("/proc/self/fd/" + fd, flags, 0);
  }

  /** A name under which this process can open this descriptor's file as long as it is open. */
  public String procName() {
    return "/proc/self/fd/" + fd;
  }

  /** What the kernel says of a file. */
  public record Stat(
      int mode,
      int deviceMajor,
      int deviceMinor,
      long inode,
      long size,
      long blocks,
      int memoryAlign,
      int directAlign) {

    /** The kind of file, S_IFMT shifted to the right: 0x8 regular, 0x6 block device… */
    public int kind() {
      return mode >>> 12;
    }
  }

  /** Describes the file at {@code path}, after symbolic links; null if that fails. */
  public static @Nullable Stat stat(String path) {
    return statx(AT_FDCWD, cString(path), 0);
  }

  /** Describes this file; null if the kernel refuses. */
  public @Nullable Stat stat() {
    if (!enter()) {
      return null;
    }
    try {
      return statx(fd, cString(""), AT_EMPTY_PATH);
    } finally {
      leave();
    }
  }

  /** The magic number of the file system that this file is in, from fstatfs. */
  public long fileSystemType() {
    Scratch scratch = Scratch.get();
    long r = onFd(FSTATFS, scratch.segment, 0, 0, 0, 0);
    return r < 0 ? r : scratch.memory.getLong(0);
  }

  private static @Nullable Stat statx(int at, MemorySegment name, int flags) {
    Scratch scratch = Scratch.get();
    long out = scratch.segment.address();
    long mask = STATX_BASIC_STATS | STATX_DIOALIGN;
    long r = Syscall.call(STATX, at, name, flags, mask, out, 0);
    if (r < 0) {
      return null;
    }
    ByteBuffer stat = scratch.memory;
    boolean dio = (stat.getInt(0) & STATX_DIOALIGN) != 0;
    return new Stat(
        Short.toUnsignedInt(stat.getShort(28)),
        stat.getInt(136),
        stat.getInt(140),
        stat.getLong(32),
        stat.getLong(40),
        stat.getLong(48),
        dio ? stat.getInt(152) : -1,
        dio ? stat.getInt(156) : -1);
  }

  /** pread: bytes read into the memory, 0 at the end of the file. */
  public long read(MemorySegment dst, long offset) {
    return onFd(PREAD, dst, dst.byteSize(), offset, 0, 0);
  }

  /** pwrite: bytes written. */
  public long write(MemorySegment src, long offset) {
    return onFd(PWRITE, src, src.byteSize(), offset, 0, 0);
  }

  /** preadv into what remains of the direct buffers, of the first 64 at most. */
  public long read(ByteBuffer[] dsts, long offset) {
    return vectored(PREADV, dsts, offset, Long.MAX_VALUE);
  }

  /**
   * pwritev of what remains in the direct buffers, of the first 64 at most.
   *
   * @param most how many bytes at most
   */
  public long write(ByteBuffer[] srcs, long offset, long most) {
    return vectored(PWRITEV, srcs, offset, most);
  }

  private long vectored(int number, ByteBuffer[] buffers, long offset, long most) {
    Scratch scratch = Scratch.get();
    int count = 0;
    long left = most;
    for (ByteBuffer buffer : buffers) {
      if (buffer.hasRemaining()) {
        MemorySegment bytes = MemorySegment.ofBuffer(buffer);
        if (bytes.byteSize() > left) {
          bytes = bytes.asSlice(0, left);
        }
        vector(scratch.memory, count++, bytes);
        left -= bytes.byteSize();
        if (count == MAX_VECTORS || left == 0) {
          break;
        }
      }
    }
    try {
      return onFd(number, scratch.segment, count, offset, 0, 0);
    } finally {
      Reference.reachabilityFence(buffers);
    }
  }

  /** preadv2 with RWF_NOWAIT: -EAGAIN if a device would have to be waited for. */
  public long readNow(MemorySegment dst, long offset) {
    Scratch scratch = Scratch.get();
    vector(scratch.memory, 0, dst);
    try {
      return onFd(PREADV2, scratch.segment, 1, offset, 0, RWF_NOWAIT);
    } finally {
      Reference.reachabilityFence(dst);
    }
  }

  /** posix_fadvise, POSIX_FADV_WILLNEED: has bytes read into the page cache, and does not wait. */
  public long willNeed(long offset, long length) {
    return onFd(FADVISE, MemorySegment.ofAddress(offset), length, FADV_WILLNEED, 0, 0);
  }

  /**
   * copy_file_range from another file into this one: bytes copied, 0 at the end of {@code source}.
   */
  public long copyFrom(LinuxFile source, long sourceOffset, long offset, long length) {
    Scratch scratch = Scratch.get();
    scratch.memory.putLong(0, sourceOffset).putLong(8, offset);
    long target = scratch.segment.address() + 8;
    if (!enter()) {
      return -EBADF;
    }
    try {
      return source.onFd(COPY_FILE_RANGE, scratch.segment, fd, target, length, 0);
    } finally {
      leave();
    }
  }

  private static void vector(ByteBuffer vectors, int i, MemorySegment memory) {
    vectors.putLong(i * 16, memory.address()).putLong(i * 16 + 8, memory.byteSize());
  }

  /** lseek. */
  public long seek(long offset, int whence) {
    return onFd(LSEEK, MemorySegment.ofAddress(offset), whence, 0, 0, 0);
  }

  /** fdatasync: contents, and the size. */
  public long sync() {
    return onFd(FDATASYNC, MemorySegment.NULL, 0, 0, 0, 0);
  }

  /** ftruncate. */
  public long truncate(long size) {
    return onFd(FTRUNCATE, MemorySegment.ofAddress(size), 0, 0, 0, 0);
  }

  /** fallocate. */
  public long fallocate(int mode, long offset, long length) {
    return onFd(FALLOCATE, MemorySegment.ofAddress(mode), offset, length, 0, 0);
  }

  /** Takes a shared OFD lock on one byte. */
  public long lockShared(long at) {
    return fcntl(F_OFD_SETLK, F_RDLCK, at);
  }

  /** Gives a byte's OFD lock back. */
  public long unlock(long at) {
    return fcntl(F_OFD_SETLK, F_UNLCK, at);
  }

  /** Whether somebody else holds any lock on this byte: 1 or 0. */
  public long lockedByOthers(long at) {
    long r = fcntl(F_OFD_GETLK, F_WRLCK, at);
    return r < 0 ? r : Scratch.get().memory.getShort(0) == F_UNLCK ? 0 : 1;
  }

  private long fcntl(int command, short type, long at) {
    Scratch scratch = Scratch.get();
    // struct flock: type, whence, start, length, process.
    scratch.memory.putLong(0, 0).putLong(24, 0);
    scratch.memory.putShort(0, type).putLong(8, at).putLong(16, 1);
    long flock = scratch.segment.address();
    return onFd(FCNTL, MemorySegment.ofAddress(command), flock, 0, 0, 0);
  }

  /**
   * Closes the descriptor after the calls under way have ended; calls after this give -EBADF. Were
   * it closed under a running call, its number could be another file's by the time it is used.
   */
  public long close() {
    if (users.getAndUpdate(n -> n | CLOSED) < 0) {
      return 0;
    }
    boolean interrupted = false;
    synchronized (users) {
      while (users.get() != CLOSED) {
        try {
          users.wait();
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return Syscall.call(CLOSE, fd, MemorySegment.NULL, 0, 0, 0, 0);
  }

  /** Whether {@link #close} was called: what answers -EBADF then is this object, not the kernel. */
  public boolean isClosed() {
    return users.get() < 0;
  }

  private boolean enter() {
    if (users.incrementAndGet() > 0) {
      return true;
    }
    leave();
    return false;
  }

  private void leave() {
    if (users.decrementAndGet() == CLOSED) {
      synchronized (users) {
        users.notifyAll();
      }
    }
  }

  private long onFd(int number, MemorySegment a, long b, long c, long d, long e) {
    if (!enter()) {
      return -EBADF;
    }
    try {
      return Syscall.call(number, fd, a, b, c, d, e);
    } finally {
      leave();
    }
  }

  private static MemorySegment cString(String path) {
    Charset fileNames = Charset.forName(System.getProperty("sun.jnu.encoding", "UTF-8"));
    byte[] bytes = path.getBytes(fileNames);
    return MemorySegment.ofBuffer(
        ByteBuffer.allocateDirect(bytes.length + 1).put(bytes).put((byte) 0).flip());
  }

  /**
   * The memory in which one thread and the kernel hand each other their structures. A buffer,
   * because a segment's accessors make the JVM spin classes at start-up.
   */
  private static final class Scratch {
    private static final ThreadLocal<Scratch> OF_THREAD = ThreadLocal.withInitial(Scratch::new);

    private final ByteBuffer memory =
        ByteBuffer.allocateDirect(MAX_VECTORS * 16).order(ByteOrder.nativeOrder());
    private final MemorySegment segment = MemorySegment.ofBuffer(memory);

    static Scratch get() {
      return OF_THREAD.get();
    }
  }
}
