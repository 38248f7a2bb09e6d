package dev.imago;

import dev.imago.Compare.Result;
import dev.imago.Compare.Verdict;
import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.Progress;
import dev.imago.internal.Buffers;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One comparison of two images. Workers draw ranges in ascending order; the difference with the
 * lowest offset counts, and nothing behind one that is known is drawn any more.
 */
final class Comparison {
  private static final int CHUNK = 1 << 20;
  private static final int SECTOR = 512;

  private final Side a;
  private final Side b;
  private final boolean strict;
  private final Progress progress;
  private final long common;
  private final long total;

  private long next;

  /** Where what threads are comparing begins, ascending. */
  private final List<Long> underWay = new ArrayList<>();

  /** How far it was told that all is equal. */
  private long told;

  private @Nullable Result first;

  Comparison(Image a, Image b, boolean strict, Progress progress) {
    this.a = new Side(a);
    this.b = new Side(b);
    this.strict = strict;
    this.progress = progress;
    this.common = Math.min(a.size(), b.size());
    this.total = Math.max(a.size(), b.size());
  }

  /** One range to compare; an image that is known to read as zero there need not be read. */
  private record Range(long offset, int length, boolean readA, boolean readB) {}

  /** Where one image's extents are looked up. Used under the comparison's lock. */
  private static final class Side {
    final Image image;
    private @Nullable Extent extent;

    Side(Image image) {
      this.image = image;
    }

    /** The extent that holds {@code at}; null behind the end, where everything is zero. */
    @Nullable Extent at(long at) throws CompareException {
      if (at >= image.size()) {
        return null;
      }
      Extent known = extent;
      if (known == null || known.guestOffset() + known.length() <= at) {
        try {
          known = image.resolve(at, image.size() - at);
        } catch (IOException e) {
          throw new CompareException(image, true, at, e);
        }
        extent = known;
      }
      return known;
    }

    void read(ByteBuffer buffer, Range range) throws CompareException {
      try {
        image.read(buffer.clear().limit(range.length()), range.offset());
      } catch (IOException e) {
        throw new CompareException(image, false, range.offset(), e);
      }
    }
  }

  /** What each thread does. */
  void work(Workers workers) throws IOException {
    try (Buffers.Lease leaseA = Buffers.take(CHUNK);
        Buffers.Lease leaseB = Buffers.take(CHUNK)) {
      while (!workers.stopped()) {
        Range range = draw();
        if (range == null) {
          return;
        }
        compare(range, leaseA.buffer(), leaseB.buffer());
        finished(range);
      }
    }
  }

  synchronized Result result() {
    return first != null ? first : new Result(Verdict.IDENTICAL, -1, common != total);
  }

  private synchronized @Nullable Range draw() throws CompareException {
    while (next < total && (first == null || next < first.offset())) {
      Extent extentA = a.at(next);
      Extent extentB = b.at(next);
      long end = Math.min(next < common ? common : total, Math.min(end(extentA), end(extentB)));
      if (strict && !status(extentA).equals(status(extentB))) {
        found(Verdict.STATUS_MISMATCH, next);
        return null;
      }
      boolean readA = extentA != null && !extentA.zero();
      boolean readB = extentB != null && !extentB.zero();
      long offset = next;
      if (!readA && !readB) {
        next = end;
        tell();
        continue;
      }
      next = Math.min(end, (offset & -CHUNK) + CHUNK);
      underWay.add(offset);
      return new Range(offset, (int) (next - offset), readA, readB);
    }
    return null;
  }

  private static long end(@Nullable Extent extent) {
    return extent == null ? Long.MAX_VALUE : extent.guestOffset() + extent.length();
  }

  /** What must be equal in strict mode: as {@code map} prints it, but for host offsets. */
  private record Status(boolean present, boolean zero, boolean data, boolean inPlace) {}

  private static Status status(@Nullable Extent extent) {
    if (extent == null) {
      return new Status(false, true, false, false);
    }
    return switch (extent.mapping()) {
      case Mapping.Data _ -> new Status(true, false, true, true);
      case Mapping.Encoded _ -> new Status(true, false, true, false);
      case Mapping.Zero z -> new Status(true, true, false, z.preallocatedHostOffset() >= 0);
      case Mapping.Unallocated _, Mapping.Backing _, Mapping.End _ ->
          new Status(false, true, false, false);
    };
  }

  private void compare(Range range, ByteBuffer bufferA, ByteBuffer bufferB) throws IOException {
    int differs;
    if (range.readA() && range.readB()) {
      a.read(bufferA, range);
      b.read(bufferB, range);
      differs = bufferA.flip().mismatch(bufferB.flip());
    } else {
      Side side = range.readA() ? a : b;
      side.read(bufferA, range);
      differs = firstData(bufferA, range.length());
    }
    if (differs >= 0) {
      found(Verdict.CONTENT_MISMATCH, range.offset() + differs);
    }
  }

  private static int firstData(ByteBuffer buffer, int length) {
    for (int at = 0; at < length; at += SECTOR) {
      int end = Math.min(length, at + SECTOR);
      if (!ZeroScan.isZero(buffer, at, end)) {
        return at;
      }
    }
    return -1;
  }

  private synchronized void found(Verdict verdict, long offset) {
    long shown = verdict == Verdict.CONTENT_MISMATCH ? offset & -SECTOR : offset;
    if (first == null || shown < first.offset()) {
      first = new Result(verdict, shown, common != total);
    }
  }

  private synchronized void finished(Range range) {
    underWay.remove(Long.valueOf(range.offset()));
    tell();
  }

  /** All before the first range that is being compared is equal, unless a difference was found. */
  private synchronized void tell() {
    long equal = underWay.isEmpty() ? next : underWay.getFirst();
    if (first == null && equal > told) {
      told = equal;
      progress.at(equal, total);
    }
  }
}
