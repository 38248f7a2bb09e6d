package dev.imago.storage;

import dev.imago.internal.Buffers;
import dev.imago.internal.RangeLock;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * A file that bypasses the page cache where a request allows it, over two descriptors.
 *
 * <p>Reads that are not aligned read whole blocks into a bounce buffer. Writes are cut: whole
 * blocks go to the disk; what is left at the head and the tail goes through the page cache, whose
 * read-modify-write the kernel does, and which sets the exact size when the file grows (writing a
 * whole block and cutting the file afterwards could cut off what another thread has appended). The
 * kernel keeps the two ways coherent except while both touch one page at the same time: so those
 * partial writes hold their pages exclusively here, and whole blocks hold theirs together.
 */
final class DirectFile implements HostFile {
  private static final int BOUNCE = 1 << 20;

  /** A multiple of every page size that Linux has. */
  private static final long PAGE = 64 * 1024;

  private final NativeFile cached;
  private final NativeFile direct;
  private final int alignment;
  private final int memoryAlignment;
  private final RangeLock pages = new RangeLock();

  /**
   * Takes over two descriptors of one file.
   *
   * @param alignment of offsets and lengths, a power of two
   * @param memoryAlignment of buffers, a power of two, at most {@link Buffers#ALIGNMENT}
   */
  DirectFile(NativeFile cached, NativeFile direct, int alignment, int memoryAlignment) {
    this.cached = cached;
    this.direct = direct;
    this.alignment = alignment;
    this.memoryAlignment = memoryAlignment;
  }

  @Override
  public int requestAlignment() {
    return alignment;
  }

  @Override
  public void read(ByteBuffer dst, long at) throws IOException {
    if (isAligned(at) && isAligned(dst.remaining()) && isUsable(dst)) {
      direct.readBlocks(dst, at, alignment);
      return;
    }
    long next = at;
    while (dst.hasRemaining()) {
      int before = (int) (next & alignment - 1);
      int length = Math.min(dst.remaining(), BOUNCE - before);
      try (Buffers.Lease lease = Buffers.take((int) alignUp(before + length))) {
        ByteBuffer blocks = lease.buffer();
        direct.readBlocks(blocks, next - before, alignment);
        int got = Math.min(blocks.position() - before, length);
        if (got > 0) {
          dst.put(blocks.flip().position(before).limit(before + got));
          next += got;
        }
        if (got < length) {
          return;
        }
      }
    }
  }

  @Override
  public void write(ByteBuffer src, long at) throws IOException {
    int end = src.limit();
    long head = Math.min(alignUp(at) - at, src.remaining());
    long blocks = alignDown(src.remaining() - head);
    long tail = src.remaining() - head - blocks;
    if (head > 0) {
      writePartly(src.limit(src.position() + (int) head), at);
    }
    if (blocks > 0) {
      writeBlocks(src.limit(src.position() + (int) blocks), at + head);
    }
    src.limit(end);
    if (tail > 0) {
      writePartly(src, at + head + blocks);
    }
  }

  private void writePartly(ByteBuffer src, long at) throws IOException {
    try (var _ = hold(at, src.remaining(), true)) {
      cached.write(src, at);
    }
  }

  private void writeBlocks(ByteBuffer src, long at) throws IOException {
    try (var _ = hold(at, src.remaining(), false)) {
      if (isUsable(src)) {
        direct.write(src, at);
        return;
      }
      for (long next = at; src.hasRemaining(); ) {
        int length = Math.min(src.remaining(), BOUNCE);
        try (Buffers.Lease lease = Buffers.take(length)) {
          ByteBuffer bounce = lease.buffer();
          bounce.put(0, src, src.position(), length);
          direct.write(bounce, next);
        }
        src.position(src.position() + length);
        next += length;
      }
    }
  }

  private RangeLock.Held hold(long at, long length, boolean exclusive) {
    long end = at + length;
    long lastPage = end > Long.MAX_VALUE - PAGE ? Long.MAX_VALUE : (end + PAGE - 1) / PAGE * PAGE;
    return pages.acquire(at / PAGE * PAGE, lastPage, exclusive);
  }

  private boolean isUsable(ByteBuffer buffer) {
    return buffer.isDirect()
        && (MemorySegment.ofBuffer(buffer).address() & memoryAlignment - 1) == 0;
  }

  private boolean isAligned(long n) {
    return (n & alignment - 1) == 0;
  }

  private long alignDown(long n) {
    return n & -alignment;
  }

  private long alignUp(long n) {
    return n + alignment - 1 & -alignment;
  }

  @Override
  public boolean punch(long at, long length) throws IOException {
    try (var _ = hold(at, length, true)) {
      return cached.punch(at, length);
    }
  }

  @Override
  public boolean zero(long at, long length) throws IOException {
    try (var _ = hold(at, length, true)) {
      return cached.zero(at, length);
    }
  }

  @Override
  public boolean allocate(long at, long length) throws IOException {
    try (var _ = hold(at, length, true)) {
      return cached.allocate(at, length);
    }
  }

  @Override
  public void truncate(long size) throws IOException {
    try (var _ = pages.acquire(0, Long.MAX_VALUE, true)) {
      cached.truncate(size);
    }
  }

  @Override
  public void empty() throws IOException {
    try (var _ = pages.acquire(0, Long.MAX_VALUE, true)) {
      cached.empty();
    }
  }

  @Override
  public Storage.Run run(long at, long maxLength) throws IOException {
    return cached.run(at, maxLength);
  }

  @Override
  public long size() throws IOException {
    return cached.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return cached.allocatedBytes();
  }

  @Override
  public @Nullable Object identity() {
    return cached.identity();
  }

  @Override
  public Path realPath() throws IOException {
    return cached.realPath();
  }

  @Override
  public void sync() throws IOException {
    cached.sync(); // of the file, so of what either descriptor wrote
  }

  @Override
  public void close() throws IOException {
    try {
      direct.close();
    } finally {
      cached.close(); // the one with the locks
    }
  }
}
