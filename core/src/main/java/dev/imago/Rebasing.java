package dev.imago;

import dev.imago.image.CompressedRun;
import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.Progress;
import dev.imago.internal.Buffers;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Copies into an image what it gets from its backing image and would not get from another one.
 * Workers draw ranges that the image leaves to its backing image; ranges that are known to be the
 * same on both sides, because they are zero or lie at the same place of the same file, are passed
 * over unread.
 */
final class Rebasing {
  private static final int CHUNK = 1 << 20;

  private final Image overlay;
  private final Side old;
  private final Side behind;
  private final boolean compressed;
  private final Progress progress;
  private final int chunk;
  private final int unit;
  private final long size;
  private final Map<List<Storage>, Boolean> sameFiles = new HashMap<>();

  private long next;
  private long done;

  /**
   * Lays out the work.
   *
   * @param behind the new backing image, or null for none
   * @param compressed whether whole clusters are compressed
   */
  Rebasing(Image overlay, @Nullable Image behind, boolean compressed, Progress progress) {
    this.overlay = overlay;
    this.compressed = compressed;
    this.old = new Side(overlay);
    this.behind = new Side(behind);
    this.progress = progress;
    this.unit = overlay.clusterSize();
    this.chunk = Math.max(CHUNK, unit);
    this.size = overlay.size();
  }

  /** Where extents are looked up. Used under this object's lock. */
  private static final class Side {
    private final @Nullable Image image;
    private @Nullable Extent extent;

    Side(@Nullable Image image) {
      this.image = image;
    }

    /** The extent that holds {@code at}; null where there is no image. */
    @Nullable Extent at(long at) throws IOException {
      if (image == null || at >= image.size()) {
        return null;
      }
      Extent known = extent;
      if (known == null || known.guestOffset() > at || end(known) <= at) {
        known = image.resolve(at, image.size() - at);
        extent = known;
      }
      return known;
    }

    /** What is to be seen from {@code at} on; zeroes behind the end. */
    void read(ByteBuffer buffer, long at) throws IOException {
      int length = buffer.limit();
      int there = image == null ? 0 : Math.clamp(image.size() - at, 0, length);
      if (image != null && there > 0) {
        image.read(buffer.limit(there), at);
      }
      buffer.limit(length);
      Buffers.zero(buffer.slice(there, length - there));
    }
  }

  /** A range that the image does not hold, within one chunk. */
  private record Range(long offset, int length) {}

  /** What each thread does. */
  void work(Workers workers) throws IOException {
    try (Buffers.Lease leaseOld = Buffers.take(chunk);
        Buffers.Lease leaseNew = Buffers.take(chunk)) {
      while (!workers.stopped()) {
        Range range = draw();
        if (range == null) {
          return;
        }
        compare(range, leaseOld.buffer(), leaseNew.buffer());
        finished(range.length());
      }
    }
  }

  private synchronized @Nullable Range draw() throws IOException {
    while (next < size) {
      long at = next;
      Mapping here = overlay.map(at, size - at);
      long end = at + here.length();
      if (here instanceof Mapping.Backing || here instanceof Mapping.Unallocated) {
        end = knownSame(at, end);
        if (end == at) {
          next = Math.min(at + here.length(), (at & -chunk) + chunk);
          return new Range(at, (int) (next - at));
        }
      }
      next = end;
      finished(end - at);
    }
    return null;
  }

  /** How far, from {@code at} on, both sides are known to be the same. */
  private long knownSame(long from, long limit) throws IOException {
    long at = from;
    while (at < limit) {
      Extent before = old.at(at);
      Extent after = behind.at(at);
      if (!same(before, after, at)) {
        break;
      }
      at = Math.min(limit, Math.min(end(before), end(after)));
    }
    // A cluster is compared as a whole.
    return at == limit ? at : Math.max(from, at & -(long) unit);
  }

  private static long end(@Nullable Extent extent) {
    return extent == null ? Long.MAX_VALUE : extent.guestOffset() + extent.length();
  }

  private boolean same(@Nullable Extent a, @Nullable Extent b, long at) throws IOException {
    boolean zeroA = a == null || a.zero();
    boolean zeroB = b == null || b.zero();
    if (a == null || b == null || zeroA || zeroB) {
      return zeroA && zeroB;
    }
    if (a.mapping() instanceof Mapping.Data x && b.mapping() instanceof Mapping.Data y) {
      return x.hostOffset() + at - a.guestOffset() == y.hostOffset() + at - b.guestOffset()
          && sameFile(x.storage(), y.storage());
    }
    return a.mapping() instanceof Mapping.Encoded x
        && b.mapping() instanceof Mapping.Encoded y
        && x.hostOffset() == y.hostOffset()
        && x.encodedLength() == y.encodedLength()
        && x.encoding().equals(y.encoding())
        && a.layer().clusterSize() == b.layer().clusterSize()
        && sameFile(x.storage(), y.storage());
  }

  private boolean sameFile(Storage a, Storage b) throws IOException {
    // Storages have no equality but their identity.
    List<Storage> pair = List.of(a, b);
    Boolean answer = sameFiles.get(pair);
    if (answer == null) {
      answer = a instanceof FileStorage x && b instanceof FileStorage y && x.isSameFile(y);
      sameFiles.put(pair, answer);
    }
    return answer;
  }

  private enum Difference {
    NONE,
    DATA,
    ZEROES
  }

  private void compare(Range range, ByteBuffer before, ByteBuffer after) throws IOException {
    int length = range.length();
    old.read(before.clear().limit(length), range.offset());
    behind.read(after.clear().limit(length), range.offset());
    int from = 0;
    Difference kind = Difference.NONE;
    for (int at = 0; at < length; ) {
      int end = (int) Math.min(length, at + unit - (range.offset() + at & (unit - 1)));
      Difference now = difference(before, after, at, end);
      if (now != kind) {
        keep(kind, before, range.offset(), from, at);
        from = at;
        kind = now;
      }
      at = end;
    }
    keep(kind, before, range.offset(), from, length);
  }

  private static Difference difference(ByteBuffer before, ByteBuffer after, int from, int end) {
    if (before.slice(from, end - from).equals(after.slice(from, end - from))) {
      return Difference.NONE;
    }
    return ZeroScan.isZero(before, from, end) ? Difference.ZEROES : Difference.DATA;
  }

  /** Puts into the image what it shows. */
  private void keep(Difference kind, ByteBuffer shown, long offset, int from, int end)
      throws IOException {
    if (from == end || kind == Difference.NONE) {
      return;
    }
    if (kind == Difference.DATA) {
      write(shown.slice(from, end - from), offset + from);
      return;
    }
    overlay.writeZeroes(offset + from, end - from, true, false);
    // Version 2 cannot say that a cluster is zero, and there was no need to say it up to now.
    for (long at = offset + from; at < offset + end; ) {
      Mapping here = overlay.map(at, offset + end - at);
      if (here instanceof Mapping.Backing || here instanceof Mapping.Unallocated) {
        write(shown.slice((int) (at - offset), (int) here.length()), at);
      }
      at += here.length();
    }
  }

  /** Writes data; whole clusters compressed, if that is wanted. */
  private void write(ByteBuffer data, long offset) throws IOException {
    long end = offset + data.remaining();
    long first = offset + unit - 1 & -(long) unit;
    long last = end == size ? end : end & -(long) unit;
    if (!compressed || first >= last) {
      overlay.write(data, offset);
      return;
    }
    part(data, offset, offset, first);
    try (CompressedRun run =
        overlay.compress(data.slice((int) (first - offset), (int) (last - first)), first)) {
      run.write();
    }
    part(data, offset, last, end);
  }

  private void part(ByteBuffer data, long offset, long from, long end) throws IOException {
    if (from < end) {
      overlay.write(data.slice((int) (from - offset), (int) (end - from)), from);
    }
  }

  private synchronized void finished(long bytes) {
    done += bytes;
    progress.at(done, size);
  }
}
