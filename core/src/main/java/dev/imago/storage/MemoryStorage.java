package dev.imago.storage;

import dev.imago.internal.Buffers;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Bytes in the heap, in pages of 4 KiB that exist once they have been written to. Grows as needed.
 *
 * <p>{@link #close} does nothing: the contents live as long as this object, so that an image on it
 * can be opened again. There are no locks.
 */
public final class MemoryStorage implements Storage {
  private static final int PAGE_BITS = 12;
  private static final int PAGE = 1 << PAGE_BITS;

  private static final long LONGEST_RUN = 1 << 28;

  private final String name;
  private final AtomicLong size = new AtomicLong();

  /** By page number. A page is changed only inside {@code compute}, so one change at a time. */
  private final ConcurrentHashMap<Long, byte[]> pages = new ConcurrentHashMap<>();

  /** An empty storage; the name is used in messages. */
  public MemoryStorage(String name) {
    this.name = name;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public boolean readOnly() {
    return false;
  }

  @Override
  public int requestAlignment() {
    return 1;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) {
    Ranges.checkDestination(dst, hostOffset);
    long end = size.get();
    for (long at = hostOffset; dst.hasRemaining(); ) {
      int inPage = (int) at & PAGE - 1;
      int step = Math.min(PAGE - inPage, dst.remaining());
      byte[] page = pages.get(at >>> PAGE_BITS);
      int kept = page == null ? 0 : Math.clamp(end - at, 0, step);
      if (page != null) {
        dst.put(page, inPage, kept);
      }
      if (kept < step) {
        Buffers.zero(dst.slice(dst.position(), step - kept));
        dst.position(dst.position() + step - kept);
      }
      at += step;
    }
  }

  @Override
  public boolean readNow(ByteBuffer dst, long hostOffset) {
    read(dst, hostOffset);
    return true;
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) {
    Ranges.check(hostOffset, src.remaining());
    long at = hostOffset;
    while (src.hasRemaining()) {
      int inPage = (int) at & PAGE - 1;
      int step = Math.min(PAGE - inPage, src.remaining());
      pages.compute(
          at >>> PAGE_BITS,
          (_, old) -> {
            byte[] page = old == null ? new byte[PAGE] : old;
            src.get(page, inPage, step);
            return page;
          });
      at += step;
      grow(at);
    }
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) {
    Ranges.check(hostOffset, length);
    if (length == 0) {
      return;
    }
    zero(hostOffset, length, mode == ZeroMode.ALLOCATED);
    grow(hostOffset + length);
  }

  @Override
  public boolean zeroesCheaply() {
    return true;
  }

  @Override
  public boolean discard(long hostOffset, long length) {
    Ranges.check(hostOffset, length);
    zero(hostOffset, Math.min(length, size.get() - hostOffset), false);
    return true;
  }

  private void zero(long hostOffset, long length, boolean allocated) {
    if (!allocated && length >>> PAGE_BITS > pages.size()) {
      zeroWhatExists(hostOffset, hostOffset + length);
      return;
    }
    for (long done = 0; done < length; ) {
      int inPage = (int) (hostOffset + done) & PAGE - 1;
      int step = (int) Math.min(PAGE - inPage, length - done);
      pages.compute(
          hostOffset + done >>> PAGE_BITS,
          (_, old) -> {
            if (step == PAGE) {
              return allocated ? new byte[PAGE] : null;
            }
            byte[] page = old == null && allocated ? new byte[PAGE] : old;
            if (page != null) {
              Arrays.fill(page, inPage, inPage + step, (byte) 0);
            }
            return page;
          });
      done += step;
    }
  }

  /** The same for a range with more pages than there are. */
  private void zeroWhatExists(long start, long end) {
    for (long page : pages.keySet()) {
      long from = Math.max(start, page << PAGE_BITS);
      long to = Math.min(end, page + 1 << PAGE_BITS);
      if (from < to) {
        zero(from, to - from, false);
      }
    }
  }

  @Override
  public Run run(long hostOffset, long maxLength) {
    Ranges.checkRun(hostOffset, maxLength);
    long end = Math.min(size.get() - hostOffset, maxLength);
    boolean data = pages.containsKey(hostOffset >>> PAGE_BITS);
    long length = PAGE - (hostOffset & PAGE - 1);
    while (length < end
        && length < LONGEST_RUN
        && pages.containsKey(hostOffset + length >>> PAGE_BITS) == data) {
      length += PAGE;
    }
    return new Run(data, Math.max(1, Math.min(length, end)));
  }

  @Override
  public long size() {
    return size.get();
  }

  @Override
  public long allocatedBytes() {
    return (long) pages.size() * PAGE;
  }

  @Override
  public void resize(long newSize, Preallocation preallocation) {
    Ranges.check(newSize, 0);
    long before = size.getAndSet(newSize);
    if (newSize < before) {
      zero(newSize, before - newSize, false);
    } else if (preallocation != Preallocation.OFF) {
      zero(before, newSize - before, true);
    }
  }

  private void grow(long end) {
    size.accumulateAndGet(end, Math::max);
  }

  @Override
  public void flush() {}

  @Override
  public void close() {}
}
