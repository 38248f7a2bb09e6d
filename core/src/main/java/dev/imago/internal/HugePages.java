package dev.imago.internal;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Memory for long buffers, in pages of 2 MiB where the kernel has some. What reads and writes past
 * the host's cache then pins one page where it pinned 512, and processors find the bytes sooner.
 * Never freed. For all threads.
 */
final class HugePages {
  private static final int PAGE = 2 << 20;

  private static final boolean X86 = "amd64".equals(System.getProperty("os.arch"));
  private static final int MMAP = X86 ? 9 : 222;
  private static final int MADVISE = X86 ? 28 : 233;
  private static final int PROT_READ_WRITE = 3;
  private static final int MAP_PRIVATE_ANONYMOUS = 0x22;
  private static final int MADV_HUGEPAGE = 14;

  /** What is left of the last page: an address, and how many bytes. */
  private static long next;

  private static long left;

  private HugePages() {}

  /**
   * Takes memory, zeroed.
   *
   * @param size a power of two, from the system's page size on
   * @return null if this is not a Linux that we know, or if it refuses
   */
  @SuppressWarnings("restricted")
  static synchronized @Nullable ByteBuffer take(int size) {
    if (!LinuxFile.available()) {
      return null;
    }
    if (left < size) {
      long whole = Math.max(size, PAGE);
      long mapped = map(whole + PAGE);
      if (mapped < 0) {
        return null;
      }
      next = mapped + PAGE - 1 & -PAGE;
      left = whole;
      // What it answers does not matter: without huge pages these are as good as any others.
      Syscall.call(MADVISE, next, MemorySegment.ofAddress(whole), MADV_HUGEPAGE, 0, 0, 0);
    }
    long taken = next;
    next += size;
    left -= size;
    return MemorySegment.ofAddress(taken).reinterpret(size).asByteBuffer();
  }

  private static long map(long length) {
    MemorySegment bytes = MemorySegment.ofAddress(length);
    return Syscall.call(MMAP, 0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  }
}
