package dev.imago.qcow2;

import dev.imago.image.Image.Range;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Spliterator;
import java.util.Spliterators.AbstractSpliterator;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.function.Consumer;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.jspecify.annotations.Nullable;

/**
 * The bits of a dirty bitmap in memory, one for each granule of the disk. A page of them takes
 * memory only if some of its bits are set and some are not.
 *
 * <p>{@link #mark} and everything that only looks may be called by many threads at once, and take
 * no lock. What is marked stays marked until {@link #clear} or {@link #resize}, which are called
 * while nobody else is here.
 */
final class DirtyBits {
  /** Bits of one page: 4 KiB of memory. */
  private static final int PAGE_BITS = 1 << 15;

  private static final int PAGE_WORDS = PAGE_BITS / Long.SIZE;
  private static final VarHandle WORDS = MethodHandles.arrayElementVarHandle(long[].class);

  /** Stands for a page whose bits, as far as the disk goes, are all set. */
  private static final long[] FULL = new long[0];

  private final int granularityBits;
  private long size;
  private long bits;

  /** Null for a page without a set bit. */
  private AtomicReferenceArray<long @Nullable []> pages;

  private volatile boolean changed;

  /**
   * No bit is set.
   *
   * @param size bytes of the disk
   */
  DirtyBits(long size, int granularityBits) {
    this.granularityBits = granularityBits;
    this.size = size;
    this.bits = bits(size, granularityBits);
    this.pages = new AtomicReferenceArray<>(pages(bits));
  }

  /** How many bits a disk needs. */
  static long bits(long size, int granularityBits) {
    return (size >>> granularityBits) + ((size & (1L << granularityBits) - 1) != 0 ? 1 : 0);
  }

  /** How many bytes these bits take in an image. */
  static long bytes(long size, int granularityBits) {
    return (bits(size, granularityBits) + 7) >>> 3;
  }

  private static int pages(long bits) {
    return Math.toIntExact((bits + PAGE_BITS - 1) / PAGE_BITS);
  }

  /** Whether a bit was changed since this was made, or since {@link #kept}. */
  boolean changed() {
    return changed;
  }

  /** The bits are on the disk as they are now. */
  void kept() {
    changed = false;
  }

  /** Sets the bits of a range of guest bytes. It may go past the disk's end; that part is left. */
  void mark(long guestOffset, long length) {
    if (length > 0) {
      long last = guestOffset + length - 1 >>> granularityBits;
      set(guestOffset >>> granularityBits, Math.min(last + 1, bits));
    }
  }

  private void set(long from, long to) {
    for (long at = from; at < to; ) {
      int page = (int) (at / PAGE_BITS);
      long start = (long) page * PAGE_BITS;
      long end = Math.min(to, start + PAGE_BITS);
      set(page, (int) (at - start), (int) (end - start));
      at = end;
    }
  }

  private void set(int page, int from, int to) {
    boolean whole = from == 0 && to == bitsOf(page);
    long[] words = pages.get(page);
    while (words != FULL) {
      if (whole || words == null) {
        long[] wanted = whole ? FULL : new long[PAGE_WORDS];
        if (pages.compareAndSet(page, words, wanted)) {
          changed = true;
        }
        words = pages.get(page);
      } else {
        set(words, from, to);
        return;
      }
    }
  }

  private void set(long[] words, int from, int to) {
    for (int at = from; at < to; ) {
      int word = at / Long.SIZE;
      int end = Math.min(to, (word + 1) * Long.SIZE);
      long mask = (-1L >>> Long.SIZE - (end - at)) << at;
      if (((long) WORDS.getAcquire(words, word) & mask) != mask) {
        WORDS.getAndBitwiseOr(words, word, mask);
        if (!changed) {
          changed = true;
        }
      }
      at = end;
    }
  }

  /** Bits of a page that speak of the disk. */
  private int bitsOf(int page) {
    return (int) Math.min(PAGE_BITS, bits - (long) page * PAGE_BITS);
  }

  /** Unsets all bits. */
  void clear() {
    pages = new AtomicReferenceArray<>(pages(bits));
    changed = true;
  }

  /** Follows the disk's size. Bits of what is new are not set. */
  void resize(long newSize) {
    long newBits = bits(newSize, granularityBits);
    var resized = new AtomicReferenceArray<long @Nullable []>(pages(newBits));
    for (int page = 0; page < Math.min(pages.length(), resized.length()); page++) {
      long[] words = pages.get(page);
      int kept = (int) Math.min(bitsOf(page), newBits - (long) page * PAGE_BITS);
      boolean wholePage = kept == Math.min(PAGE_BITS, newBits - (long) page * PAGE_BITS);
      if (words != null && !(words == FULL && wholePage)) {
        long[] part = new long[PAGE_WORDS];
        for (int word = 0; word * Long.SIZE < kept; word++) {
          int inWord = Math.min(Long.SIZE, kept - word * Long.SIZE);
          part[word] = (words == FULL ? -1L : words[word]) & -1L >>> Long.SIZE - inWord;
        }
        words = part;
      }
      resized.set(page, words);
    }
    size = newSize;
    bits = newBits;
    pages = resized;
    changed = true;
  }

  /** Sets every bit whose granule another bitmap calls dirty in part. */
  void merge(DirtyBits other) {
    other.extents().forEach(range -> mark(range.guestOffset(), range.length()));
  }

  /** Bytes of the disk in dirty granules. */
  long dirtyBytes() {
    return extents().mapToLong(Range::length).sum();
  }

  /**
   * Dirty ranges of the disk, ascending, as long as they can be. Looks when it is asked for more.
   */
  Stream<Range> extents() {
    return extents(0, size);
  }

  /**
   * The dirty part of a range, likewise.
   *
   * @param length so that the range lies within the disk
   */
  Stream<Range> extents(long guestOffset, long length) {
    return StreamSupport.stream(new Extents(guestOffset, guestOffset + length), false);
  }

  private final class Extents extends AbstractSpliterator<Range> {
    private long from;
    private final long to;

    Extents(long from, long to) {
      super(Long.MAX_VALUE, Spliterator.ORDERED | Spliterator.NONNULL | Spliterator.DISTINCT);
      this.from = from;
      this.to = to;
    }

    @Override
    public boolean tryAdvance(Consumer<? super Range> action) {
      if (from >= to) {
        return false;
      }
      long first = next(from >>> granularityBits, true);
      long start = Math.max(from, first << granularityBits);
      if (first >= bits || start >= to) {
        from = to;
        return false;
      }
      long after = next(first, false);
      from = after == bits ? to : Math.min(to, after << granularityBits);
      action.accept(new Range(start, from - start));
      return true;
    }
  }

  /** The first bit from {@code from} on that is set, or not; {@link #bits} if there is none. */
  private long next(long from, boolean set) {
    long at = from;
    while (at < bits) {
      int page = (int) (at / PAGE_BITS);
      long pageStart = (long) page * PAGE_BITS;
      long[] words = pages.get(page);
      if (words == null || words == FULL) {
        if (words == FULL == set) {
          return at;
        }
        at = pageStart + PAGE_BITS;
        continue;
      }
      int word = (int) (at - pageStart) / Long.SIZE;
      long bit = (long) WORDS.getAcquire(words, word);
      long wanted = (set ? bit : ~bit) & -1L << at;
      if (wanted != 0) {
        return Math.min(
            bits, pageStart + (long) word * Long.SIZE + Long.numberOfTrailingZeros(wanted));
      }
      at = pageStart + (word + 1L) * Long.SIZE;
    }
    return bits;
  }

  /**
   * Whether no bit of a piece of the image's form is set, or all of them, as far as there are any.
   */
  boolean uniform(long firstByte, int length, boolean set) {
    long end = Math.min(bits, (firstByte + length) * Byte.SIZE);
    return next(firstByte * Byte.SIZE, !set) >= end;
  }

  /**
   * Puts a piece of the bits, in the form that an image keeps them in, into {@code dst}: zeroes
   * behind the last bit.
   *
   * @param firstByte where the piece begins, a multiple of 8
   * @param dst filled from its position to its limit, a multiple of 8 bytes
   */
  void write(ByteBuffer dst, long firstByte) {
    dst.order(ByteOrder.LITTLE_ENDIAN);
    for (long at = firstByte * Byte.SIZE; dst.hasRemaining(); at += Long.SIZE) {
      dst.putLong(at < bits ? word(at) : 0);
    }
  }

  private long word(long firstBit) {
    long[] words = pages.get((int) (firstBit / PAGE_BITS));
    if (words == null) {
      return 0;
    }
    int word = (int) (firstBit % PAGE_BITS) / Long.SIZE;
    long value = words == FULL ? -1L : (long) WORDS.getAcquire(words, word);
    return bits - firstBit >= Long.SIZE ? value : value & -1L >>> Long.SIZE - (bits - firstBit);
  }

  /** Sets all bits of a piece of the image's form. */
  void readOnes(long firstByte, int length) {
    set(firstByte * Byte.SIZE, Math.min(bits, (firstByte + length) * Byte.SIZE));
  }

  /** Sets the bits that a piece of the image's form has set, as {@link #write} puts it. */
  void read(ByteBuffer src, long firstByte) {
    src.order(ByteOrder.LITTLE_ENDIAN);
    for (long at = firstByte * Byte.SIZE; src.hasRemaining() && at < bits; at += Long.SIZE) {
      long value = src.getLong();
      if (bits - at < Long.SIZE) {
        value &= -1L >>> Long.SIZE - (bits - at);
      }
      if (value != 0) {
        int page = (int) (at / PAGE_BITS);
        if (pages.get(page) == null) {
          pages.set(page, new long[PAGE_WORDS]);
        }
        long[] words = pages.get(page);
        if (words != null && words != FULL) {
          words[(int) (at % PAGE_BITS) / Long.SIZE] |= value;
        }
      }
    }
  }
}
