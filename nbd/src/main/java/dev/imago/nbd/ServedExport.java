package dev.imago.nbd;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Mapping;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.TransmissionFlags;
import dev.imago.qcow2.BitmapInfo;
import dev.imago.qcow2.Bitmaps;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * An export while it is served, for all its clients. Offsets are the export's; who calls has seen
 * to it that they lie within it, and that it may be written. Safe for all threads.
 */
final class ServedExport {
  /** After so many requests done by the pool the host's cache is looked for no more. */
  private static final int PROBES = 8;

  private final NbdExport export;
  private final Image image;
  private final long base;
  private final Map<String, StatusSource> contexts = new LinkedHashMap<>();
  private final @Nullable Bitmaps qcow2;

  /** Whether a read was answered from memory: then a write in place goes to memory, too. */
  private volatile boolean cached;

  private int probes;

  /**
   * Prepares an export.
   *
   * @throws IllegalArgumentException if a bitmap is not there, or cannot be told about
   */
  ServedExport(NbdExport export) throws IOException {
    this.export = export;
    this.image = export.image();
    this.base = export.offset();
    this.qcow2 = image.format().equals("qcow2") ? bitmaps(image) : null;
    contexts.put(MetaContext.ALLOCATION, new AllocationStatus(image, base));
    if (export.allocationDepth()) {
      contexts.put(MetaContext.DEPTH, new DepthStatus(image, base));
    }
    for (String bitmap : export.bitmaps()) {
      contexts.put(MetaContext.BITMAP + bitmap, dirty(bitmap));
    }
  }

  private static @Nullable Bitmaps bitmaps(Image image) throws IOException {
    try {
      return Qcow2.bitmaps(image);
    } catch (IllegalArgumentException e) {
      return null; // a filter over a qcow2 image
    }
  }

  private StatusSource dirty(String name) throws IOException {
    for (Image layer = image; layer != null; layer = layer.backing().orElse(null)) {
      Bitmaps bitmaps = layer.format().equals("qcow2") ? bitmaps(layer) : null;
      List<BitmapInfo> found = bitmaps == null ? List.of() : bitmaps.list();
      for (BitmapInfo info : found) {
        if (info.name().equals(name)) {
          return dirty(layer, bitmaps, info);
        }
      }
    }
    throw new IllegalArgumentException("Bitmap '" + name + "' is not found");
  }

  private StatusSource dirty(Image layer, @Nullable Bitmaps bitmaps, BitmapInfo info) {
    if (bitmaps == null) {
      throw new IllegalArgumentException("Bitmap '" + info.name() + "' is not found");
    }
    if (info.inconsistent()) {
      throw new IllegalArgumentException(
          "Bitmap '" + info.name() + "' is inconsistent and cannot be used");
    }
    if (layer.size() < base + export.length()) {
      throw new IllegalArgumentException(
          "Bitmap '" + info.name() + "' is shorter than the export: it is of a backing image");
    }
    return new DirtyStatus(bitmaps, info.name(), base);
  }

  String name() {
    return export.name();
  }

  String description() {
    return export.description();
  }

  long size() {
    return export.length();
  }

  boolean readOnly() {
    return export.readOnly();
  }

  /** Whether every change is made durable before it is answered. */
  boolean writeThrough() {
    return export.writeThrough();
  }

  Image image() {
    return image;
  }

  /** Names of the meta contexts, and what they say. */
  Map<String, StatusSource> contexts() {
    return contexts;
  }

  /**
   * What it can do.
   *
   * @param shared whether several clients may be connected at once
   */
  int flags(ReplyStyle style, boolean shared) {
    int flags =
        TransmissionFlags.HAS_FLAGS
            | TransmissionFlags.SEND_FLUSH
            | TransmissionFlags.SEND_FUA
            | TransmissionFlags.SEND_CACHE;
    if (readOnly()) {
      flags |= TransmissionFlags.READ_ONLY;
    } else {
      flags |=
          TransmissionFlags.SEND_TRIM
              | TransmissionFlags.SEND_WRITE_ZEROES
              | TransmissionFlags.SEND_FAST_ZERO;
    }
    if (style.chunked()) {
      flags |= TransmissionFlags.SEND_DF;
    }
    if (style == ReplyStyle.EXTENDED) {
      flags |= TransmissionFlags.BLOCK_STATUS_PAYLOAD;
    }
    if (shared) {
      // One image object serves all: each sees what the others wrote, and a flush is for all.
      flags |= TransmissionFlags.CAN_MULTI_CONN;
    }
    return flags;
  }

  /** Reads if that needs no waiting; {@code dst} is as it was if not. */
  boolean readNow(ByteBuffer dst, long offset) throws IOException {
    boolean read = image.readNow(dst, base + offset);
    if (read && !cached) {
      cached = true;
    }
    return read;
  }

  /** Has the disk look for what a read needs, without waiting; false if that is not possible. */
  boolean prefetch(long offset, long length) throws IOException {
    // Filters are never found to be cached: they are not to be gone round.
    return cached
        && image.resolve(base + offset, length).mapping() instanceof Mapping.Data data
        && data.length() >= length
        && data.storage().prefetch(data.hostOffset(), length);
  }

  void read(ByteBuffer dst, long offset) throws IOException {
    image.read(dst, base + offset);
  }

  /** Whether a write, without FUA, will not wait: it goes to the host's memory, where data is. */
  boolean writesNow(long offset, int length) throws IOException {
    if (!cached || writeThrough()) {
      return false;
    }
    if (image.format().equals("raw")) {
      return true;
    }
    Mapping mapping = image.map(base + offset, length);
    return mapping.length() >= length
        && switch (mapping) {
          case Mapping.Data data -> data.writable();
          // A cluster is found for it in memory, and nothing is read to fill that up.
          case Mapping.Unallocated _, Mapping.Zero _ -> qcow2 != null;
          default -> false;
        };
  }

  void write(ByteBuffer src, long offset, boolean fua) throws IOException {
    image.write(new ByteBuffer[] {src}, base + offset, fua);
  }

  /**
   * After a read or write: if what it was about is in the host's memory, the next one need not
   * wait. What goes wrong is no matter of the request, which may be answered by now.
   */
  void lookForCache(long offset) {
    if (cached || probes >= PROBES) {
      return;
    }
    probes++;
    try {
      readNow(ByteBuffer.allocateDirect(1), offset);
    } catch (IOException | RuntimeException e) {
      return; // who reads there meets it, too
    }
  }

  void writeZeroes(long offset, long length, boolean mayUnmap, boolean fua) throws IOException {
    image.writeZeroes(base + offset, length, mayUnmap, fua);
  }

  /** Whether zeroing a range costs much less than writing it. May say no where it does. */
  boolean zeroesFast(long offset, long length, boolean mayUnmap) throws IOException {
    long start = base + offset;
    if (image.format().equals("raw")) {
      return switch (image.map(start, length)) {
        case Mapping.Data data -> data.storage().zeroesCheaply();
        case Mapping.Zero zero -> mayUnmap && zero.length() >= length;
        default -> false;
      };
    }
    int cluster = image.clusterSize();
    boolean whole =
        start % cluster == 0 && ((start + length) % cluster == 0 || start + length == image.size());
    // Images that can keep bitmaps are those of version 3, which can keep zeroes, too.
    return whole && qcow2 != null && qcow2.supported();
  }

  void discard(long offset, long length) throws IOException {
    image.discard(base + offset, length, Discard.TO_ANY);
  }

  void flush() throws IOException {
    if (!image.readOnly()) {
      image.flush();
    }
  }

  /** What a range is, as far as can be told without reading it. */
  enum Kind {
    /** Zero, all of it. */
    ZERO,
    /** Data, but for short runs of zeroes. */
    DATA,
    /** Data and zeroes. */
    MIXED
  }

  /**
   * What a range is.
   *
   * @param shortest runs of zeroes that are shorter do not count
   */
  Kind kind(long offset, long length, long shortest) throws IOException {
    for (long at = 0; at < length; ) {
      long run = zeroRun(offset + at, length - at);
      if (run == length) {
        return Kind.ZERO;
      }
      if (run >= shortest) {
        return Kind.MIXED;
      }
      at += Math.abs(run);
    }
    return Kind.DATA;
  }

  /** How many bytes from {@code offset} on are known to be zero, or -n for n bytes that are not. */
  long zeroRun(long offset, long maxLength) throws IOException {
    var extent = image.resolve(base + offset, maxLength);
    return extent.zero() ? extent.length() : -extent.length();
  }
}
