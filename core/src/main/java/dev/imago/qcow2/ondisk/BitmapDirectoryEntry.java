package dev.imago.qcow2.ondisk;

import dev.imago.image.ImageFormatException;
import java.nio.ByteBuffer;

/**
 * An entry of the directory of dirty bitmaps. Its length varies; each starts at a multiple of 8.
 *
 * <p>Spec: qcow2 digest, section 8.
 *
 * @param tableOffset host offset of the bitmap table, cluster aligned
 * @param tableSize entries of that table
 * @param flags see the constants
 * @param type 1 for dirty tracking
 * @param granularityBits a bit speaks of {@code 1 << granularityBits} guest bytes; 0 to 63
 * @param extra data that nobody knows so far
 * @param rawName 1 to 1023 bytes
 */
public record BitmapDirectoryEntry(
    long tableOffset,
    long tableSize,
    long flags,
    int type,
    int granularityBits,
    Bytes extra,
    Bytes rawName) {
  /** Length without extra data and name, in bytes. */
  public static final int FIXED_BYTES = 24;

  /** Flag: a writer has or had the bitmap open, so that its contents are stale. */
  public static final long IN_USE = 1;

  /** Flag: load and keep it up to date whenever the image is written to. */
  public static final long AUTO = 1 << 1;

  /** Flag: unknown extra data does not keep anyone from using the bitmap. */
  public static final long EXTRA_DATA_COMPATIBLE = 1 << 2;

  /** {@link #type}: the bitmap tracks writes. */
  public static final int DIRTY_TRACKING = 1;

  /** Most entries of a bitmap table. */
  public static final long MAX_TABLE_ENTRIES = 0x800_0000;

  /** Longest name, in bytes. */
  public static final int MAX_NAME = 1023;

  /** Finest {@link #granularityBits} that is used. */
  public static final int MIN_GRANULARITY_BITS = 9;

  /** Coarsest {@link #granularityBits} that is used. */
  public static final int MAX_GRANULARITY_BITS = 31;

  /** Longest bitmap in bytes, in whole clusters. */
  public static final long MAX_BITMAP_BYTES = 512L << 20;

  /**
   * Reads one entry and moves {@code in} past it and its padding.
   *
   * @param at host offset of {@code in}'s position, for messages
   * @param clusterSize bytes of a cluster
   * @throws ImageFormatException if a field breaks the specification or the entry is cut off
   */
  public static BitmapDirectoryEntry parse(ByteBuffer in, long at, int clusterSize, String image)
      throws ImageFormatException {
    int start = in.position();
    if (in.remaining() < FIXED_BYTES) {
      throw cutOff(in, at, FIXED_BYTES, image);
    }
    final long tableOffset = in.getLong();
    final long tableSize = u32(in);
    final long flags = u32(in);
    final int type = Byte.toUnsignedInt(in.get());
    final int granularityBits = Byte.toUnsignedInt(in.get());
    final int nameLength = Short.toUnsignedInt(in.getShort());
    final long extraLength = u32(in);
    if (tableSize > MAX_TABLE_ENTRIES) {
      throw new ImageFormatException(
          image,
          at + 8,
          "bitmap_table_size",
          "%d entries; at most %d".formatted(tableSize, MAX_TABLE_ENTRIES));
    }
    long bytes = tableSize * Geometry.ENTRY_BYTES;
    boolean fits = tableOffset > 0 && tableOffset <= Geometry.MAX_HOST_OFFSET - bytes;
    if (!fits || (tableOffset & (clusterSize - 1L)) != 0) {
      throw new ImageFormatException(
          image,
          at,
          "bitmap_table_offset",
          "0x%x; a multiple of the cluster size, 0x%x, not 0, that ends at most at 2^56"
              .formatted(tableOffset, clusterSize));
    }
    if (granularityBits > 63) {
      throw new ImageFormatException(
          image, at + 17, "granularity_bits", "%d; 0 to 63".formatted(granularityBits));
    }
    if (nameLength == 0 || nameLength > MAX_NAME) {
      throw new ImageFormatException(
          image, at + 18, "bitmap name_size", "%d; 1 to %d".formatted(nameLength, MAX_NAME));
    }
    if (in.remaining() < extraLength + nameLength) {
      in.position(start);
      throw cutOff(in, at, FIXED_BYTES + extraLength + nameLength, image);
    }
    Bytes extra = Bytes.take(in, (int) extraLength);
    Bytes name = Bytes.take(in, nameLength);
    int used = in.position() - start;
    int padding = HeaderExtension.padded(used) - used;
    in.position(in.position() + Math.min(padding, in.remaining()));
    return new BitmapDirectoryEntry(
        tableOffset, tableSize, flags, type, granularityBits, extra, name);
  }

  private static ImageFormatException cutOff(ByteBuffer in, long at, long length, String image) {
    return new ImageFormatException(
        image,
        at,
        "bitmap directory entry",
        "%d bytes long, but only %d are left".formatted(length, in.remaining()));
  }

  /** Bytes on disk, with padding. */
  public int length() {
    return HeaderExtension.padded(FIXED_BYTES + extra.size() + rawName.size());
  }

  /** Writes {@link #length()} bytes at {@code out}'s position and moves past them. */
  public void write(ByteBuffer out) {
    int end = out.position() + length();
    out.putLong(tableOffset).putInt((int) tableSize).putInt((int) flags);
    out.put((byte) type).put((byte) granularityBits);
    out.putShort((short) rawName.size()).putInt(extra.size());
    extra.write(out);
    rawName.write(out);
    while (out.position() < end) {
      out.put((byte) 0);
    }
  }

  /** The bitmap's name, unique in its image. */
  public String name() {
    return rawName.text();
  }

  /** Whether somebody has or had it open for writing: what the disk says is stale then. */
  public boolean inUse() {
    return (flags & IN_USE) != 0;
  }

  /** Whether every writer loads it and keeps it up to date. */
  public boolean auto() {
    return (flags & AUTO) != 0;
  }

  /** Whether all that it says is known here, so that its bits can be used if they are not stale. */
  public boolean understood() {
    return (flags & ~(IN_USE | AUTO | EXTRA_DATA_COMPATIBLE)) == 0
        && type == DIRTY_TRACKING
        && granularityBits >= MIN_GRANULARITY_BITS
        && granularityBits <= MAX_GRANULARITY_BITS
        && (extra.size() == 0 || (flags & EXTRA_DATA_COMPATIBLE) != 0);
  }

  /** A copy with other flags. */
  public BitmapDirectoryEntry withFlags(long newFlags) {
    return new BitmapDirectoryEntry(
        tableOffset, tableSize, newFlags, type, granularityBits, extra, rawName);
  }

  /** A copy whose bits are elsewhere. */
  public BitmapDirectoryEntry withTable(long newOffset, long newSize) {
    return new BitmapDirectoryEntry(
        newOffset, newSize, flags, type, granularityBits, extra, rawName);
  }

  private static long u32(ByteBuffer in) {
    return Integer.toUnsignedLong(in.getInt());
  }
}
