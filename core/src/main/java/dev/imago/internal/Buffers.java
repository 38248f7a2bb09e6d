package dev.imago.internal;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * A pool of page-aligned direct buffers, for bouncing and for copying. Beyond the first 8 MiB they
 * do not count towards {@code -XX:MaxDirectMemorySize}. The pool keeps at most 8 buffers of each
 * power of two from 4 KiB to 4 MiB; beyond that a buffer is made, and collected as garbage after
 * its release.
 *
 * <p>Safe for all threads; a buffer may be released by another thread than the one that took it.
 */
public final class Buffers {

  /** Alignment of every buffer's first byte, in bytes. */
  public static final int ALIGNMENT = 4096;

  private static final int SMALLEST_BITS = 12;
  private static final int LARGEST_BITS = 22;
  private static final int KEPT = 8;

  /** So many bytes are made without an arena: the first one in a JVM costs 10 ms of start-up. */
  private static final long FRUGAL = 8 << 20;

  /** From this many bytes on a buffer is worth a share of a huge page. */
  private static final int LONG = 1 << 20;

  private static final AtomicLong frugal = new AtomicLong();

  private static final Shelf[] SHELVES = new Shelf[LARGEST_BITS - SMALLEST_BITS + 1];

  static {
    Arrays.setAll(SHELVES, i -> new Shelf(1 << (SMALLEST_BITS + i)));
  }

  private Buffers() {}

  /**
   * Takes a buffer of {@code size} bytes: position 0, limit and capacity {@code size}, big endian.
   * Its contents are whatever its last user left, so that it must be filled before it is written
   * anywhere.
   *
   * @param size at least 1
   */
  public static Lease take(int size) {
    int bits = Math.max(SMALLEST_BITS, 32 - Integer.numberOfLeadingZeros(size - 1));
    if (bits > LARGEST_BITS) {
      return new Lease(allocate(size, false), null, size);
    }
    Shelf shelf = SHELVES[bits - SMALLEST_BITS];
    ByteBuffer kept = shelf.take();
    return kept != null
        ? new Lease(kept, shelf, size)
        : new Lease(allocate(shelf.size, false), null, size);
  }

  /**
   * A buffer as {@link #take} lends them, but for its size, which is just as asked for, and for
   * good: it is collected as garbage.
   *
   * @param size 1 byte to 1 GiB
   */
  public static ByteBuffer make(int size) {
    int whole = Math.ceilDiv(size, ALIGNMENT) * ALIGNMENT;
    return allocate(whole, false).slice(0, size);
  }

  /** Fills a buffer with zeroes from its position to its limit, and moves the position there. */
  public static void zero(ByteBuffer dst) {
    if (dst.hasArray()) {
      int from = dst.arrayOffset() + dst.position();
      Arrays.fill(dst.array(), from, from + dst.remaining(), (byte) 0);
    } else {
      MemorySegment.ofBuffer(dst).fill((byte) 0);
    }
    dst.position(dst.limit());
  }

  /**
   * A read-only buffer of zeroes, page-aligned and direct, for as much of {@code length} as it can
   * hold: at least 1 byte, at most 256 KiB. Position 0.
   */
  public static ByteBuffer zeroes(long length) {
    ByteBuffer zeroes = Zeroes.BUFFER.duplicate();
    return zeroes.limit((int) Math.min(length, zeroes.capacity()));
  }

  private static ByteBuffer allocate(int size, boolean forEver) {
    if (forEver && size >= LONG) {
      ByteBuffer huge = HugePages.take(size);
      if (huge != null) {
        return huge;
      }
    }
    if (frugal.addAndGet(size) <= FRUGAL) {
      try {
        return ByteBuffer.allocateDirect(size + ALIGNMENT).alignedSlice(ALIGNMENT).slice(0, size);
      } catch (OutOfMemoryError e) {
        // The JVM was given less; arenas have no such limit.
      }
    }
    Arena arena = forEver ? Arena.global() : Arena.ofAuto();
    return arena.allocate(size, ALIGNMENT).asByteBuffer();
  }

  /** A buffer on loan; given back by {@link #close}, after which nobody may touch it. */
  public static final class Lease implements AutoCloseable {
    private final ByteBuffer whole;
    private final @Nullable Shelf shelf;
    private final ByteBuffer buffer;
    private final AtomicBoolean released = new AtomicBoolean();

    private Lease(ByteBuffer whole, @Nullable Shelf shelf, int size) {
      this.whole = whole;
      this.shelf = shelf;
      this.buffer = whole.slice(0, size);
    }

    /** The buffer; the same object each time. */
    public ByteBuffer buffer() {
      return buffer;
    }

    /** Gives the buffer back. A second call does nothing. */
    @Override
    public void close() {
      if (shelf != null && released.compareAndSet(false, true)) {
        shelf.giveBack(whole);
      }
    }
  }

  /** The buffers of one size that nobody uses now. */
  private static final class Shelf {
    private final int size;
    private final AtomicReferenceArray<@Nullable ByteBuffer> idle =
        new AtomicReferenceArray<>(KEPT);
    private final AtomicInteger made = new AtomicInteger();

    Shelf(int size) {
      this.size = size;
    }

    /** Null once all that the shelf may have are out. */
    @Nullable ByteBuffer take() {
      for (int i = 0; i < KEPT; i++) {
        if (idle.getPlain(i) != null) {
          ByteBuffer buffer = idle.getAndSet(i, null);
          if (buffer != null) {
            return buffer;
          }
        }
      }
      // Never freed, but never more than KEPT of them.
      boolean more = made.get() < KEPT && made.getAndIncrement() < KEPT;
      return more ? allocate(size, true) : null;
    }

    void giveBack(ByteBuffer buffer) {
      for (int i = 0; i < KEPT; i++) {
        if (idle.getPlain(i) == null && idle.compareAndSet(i, null, buffer)) {
          return;
        }
      }
    }
  }

  private static final class Zeroes {
    static final ByteBuffer BUFFER = allocate(256 * 1024, true).asReadOnlyBuffer();
  }
}
