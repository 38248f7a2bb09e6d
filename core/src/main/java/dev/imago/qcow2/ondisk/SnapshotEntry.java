package dev.imago.qcow2.ondisk;

import dev.imago.image.ImageFormatException;
import java.nio.ByteBuffer;

/**
 * An entry of the snapshot table. Its length varies; each starts at a multiple of 8.
 *
 * <p>Spec: qcow2 digest, section 7.
 *
 * @param l1TableOffset host offset of the snapshot's L1 table, cluster aligned
 * @param l1Size entries of that table
 * @param seconds date in seconds since 1970
 * @param nanoseconds of the date
 * @param vmClock guest run time in nanoseconds
 * @param vmStateSize32 the old 32-bit field; see {@link #vmStateSize}
 * @param extra further fields: 64-bit VM state size, disk size, instruction count, and unknown ones
 * @param rawId decimal digits as a rule
 * @param rawName any bytes
 */
public record SnapshotEntry(
    long l1TableOffset,
    long l1Size,
    long seconds,
    long nanoseconds,
    long vmClock,
    long vmStateSize32,
    Bytes extra,
    Bytes rawId,
    Bytes rawName) {
  /** Length without extra data, ID and name, in bytes. */
  public static final int FIXED_BYTES = 40;

  private static final int AT_EXTRA_LENGTH = 36;

  /** Most extra data of an entry, in bytes. */
  public static final int MAX_EXTRA_BYTES = 1024;

  /** Extra data of a new entry, in bytes: all fields that are known. */
  public static final int NEW_EXTRA_BYTES = 24;

  /** Longest snapshot table, in bytes. */
  public static final long MAX_TABLE_BYTES = 64 << 20;

  /** Longest entry with its padding, in bytes. */
  public static final int MAX_BYTES = (FIXED_BYTES + MAX_EXTRA_BYTES + 2 * 0xffff + 7) & ~7;

  /**
   * Reads one entry and moves {@code in} past it and its padding (which may be missing at the end).
   * Where the L1 table is said to be is not judged: see {@link #requireL1}.
   *
   * @param at host offset of {@code in}'s position, for messages
   * @throws ImageFormatException if the entry is cut off or has too much extra data; {@code in} is
   *     left at the entry then
   */
  public static SnapshotEntry parse(ByteBuffer in, long at, String image)
      throws ImageFormatException {
    if (in.remaining() < FIXED_BYTES) {
      throw cutOff(in, at, FIXED_BYTES, image);
    }
    final int start = in.position();
    final long l1TableOffset = in.getLong();
    final long l1Size = u32(in);
    final int idLength = Short.toUnsignedInt(in.getShort());
    final int nameLength = Short.toUnsignedInt(in.getShort());
    final long seconds = u32(in);
    final long nanoseconds = u32(in);
    final long vmClock = in.getLong();
    final long vmStateSize32 = u32(in);
    final long extraLength = u32(in);
    if (extraLength > MAX_EXTRA_BYTES) {
      in.position(start);
      throw new ImageFormatException(
          image,
          at + AT_EXTRA_LENGTH,
          "snapshot extra data size",
          "%d; at most %d".formatted(extraLength, MAX_EXTRA_BYTES));
    }
    int rest = (int) extraLength + idLength + nameLength;
    if (in.remaining() < rest) {
      in.position(start);
      throw cutOff(in, at, FIXED_BYTES + rest, image);
    }
    Bytes extra = Bytes.take(in, (int) extraLength);
    Bytes id = Bytes.take(in, idLength);
    Bytes name = Bytes.take(in, nameLength);
    int padding = HeaderExtension.padded(FIXED_BYTES + rest) - FIXED_BYTES - rest;
    in.position(in.position() + Math.min(padding, in.remaining()));
    return new SnapshotEntry(
        l1TableOffset, l1Size, seconds, nanoseconds, vmClock, vmStateSize32, extra, id, name);
  }

  /** The length of the extra data, unsigned, of the entry that begins {@code in}. */
  public static long extraLength(ByteBuffer in) {
    return Integer.toUnsignedLong(in.getInt(AT_EXTRA_LENGTH));
  }

  /** The length of ID and name together of the entry that begins {@code in}. */
  public static int idAndNameLength(ByteBuffer in) {
    return Short.toUnsignedInt(in.getShort(12)) + Short.toUnsignedInt(in.getShort(14));
  }

  /** Sets the length of the extra data of the entry that begins {@code out}. */
  public static void setExtraLength(ByteBuffer out, int length) {
    out.putInt(AT_EXTRA_LENGTH, length);
  }

  /**
   * This entry with all known extra data, for a disk of this size if it does not say. Unknown
   * fields behind are kept.
   */
  public SnapshotEntry completed(long size) {
    if (extra.size() >= NEW_EXTRA_BYTES) {
      return this;
    }
    Bytes whole = newExtra(vmStateSize(), diskSize(size), instructionCount());
    return new SnapshotEntry(
        l1TableOffset, l1Size, seconds, nanoseconds, vmClock, vmStateSize32, whole, rawId, rawName);
  }

  /**
   * Passes if the L1 table can be used: not too long, cluster aligned, below 2^56.
   *
   * @param at host offset of the entry, for messages
   */
  public void requireL1(long at, Geometry g, String image) throws ImageFormatException {
    if (l1Size > Geometry.MAX_L1_ENTRIES) {
      throw new ImageFormatException(
          image,
          at + 8,
          "snapshot l1_size",
          "%d entries; at most %d".formatted(l1Size, Geometry.MAX_L1_ENTRIES));
    }
    long bytes = l1Size * Geometry.ENTRY_BYTES;
    boolean fits = l1TableOffset >= 0 && l1TableOffset <= Geometry.MAX_HOST_OFFSET - bytes;
    boolean missing = l1TableOffset == 0 && l1Size != 0;
    if (!fits || missing || g.inCluster(l1TableOffset) != 0) {
      throw new ImageFormatException(
          image,
          at,
          "snapshot l1_table_offset",
          "0x%x; a multiple of the cluster size, 0x%x, not 0, that ends at most at 2^56"
              .formatted(l1TableOffset, g.clusterSize()));
    }
  }

  private static ImageFormatException cutOff(ByteBuffer in, long at, int length, String image) {
    return new ImageFormatException(
        image,
        at,
        "snapshot table entry",
        "%d bytes long, but only %d are left".formatted(length, in.remaining()));
  }

  /** Whether fields are missing that version 3 demands: QEMU's check calls that incomplete. */
  public boolean incomplete(int version) {
    return version >= 3 && extra.size() < 16;
  }

  /** This entry with another L1 table. */
  public SnapshotEntry withL1(long offset, long size) {
    return new SnapshotEntry(
        offset, size, seconds, nanoseconds, vmClock, vmStateSize32, extra, rawId, rawName);
  }

  /**
   * This entry with all fields that a version demands; unknown extra data is kept.
   *
   * @param size the disk's size today, if the entry does not say its own
   */
  public SnapshotEntry completed(int version, long size) {
    if (!incomplete(version)) {
      return this;
    }
    Bytes whole = newExtra(vmStateSize(), diskSize(size), instructionCount());
    return new SnapshotEntry(
        l1TableOffset, l1Size, seconds, nanoseconds, vmClock, vmStateSize32, whole, rawId, rawName);
  }

  /** Bytes on disk, with padding. */
  public int length() {
    return HeaderExtension.padded(FIXED_BYTES + extra.size() + rawId.size() + rawName.size());
  }

  /** Writes {@link #length()} bytes at {@code out}'s position and moves past them. */
  public void write(ByteBuffer out) {
    int end = out.position() + length();
    out.putLong(l1TableOffset).putInt((int) l1Size);
    out.putShort((short) rawId.size()).putShort((short) rawName.size());
    out.putInt((int) seconds).putInt((int) nanoseconds).putLong(vmClock);
    out.putInt((int) vmStateSize32).putInt(extra.size());
    extra.write(out);
    rawId.write(out);
    rawName.write(out);
    while (out.position() < end) {
      out.put((byte) 0);
    }
  }

  /** The extra data that is written into new entries: 24 bytes. */
  public static Bytes newExtra(long vmStateSize, long diskSize, long instructionCount) {
    ByteBuffer out = ByteBuffer.allocate(24);
    out.putLong(vmStateSize).putLong(diskSize).putLong(instructionCount);
    return Bytes.of(out.array());
  }

  /** The snapshot's number, mostly. */
  public String id() {
    return rawId.text();
  }

  /** The snapshot's name; not unique. */
  public String name() {
    return rawName.text();
  }

  /** Bytes of VM state, unsigned; the 64-bit field wins. */
  public long vmStateSize() {
    return extra.size() >= 8 ? extra.view().getLong(0) : vmStateSize32;
  }

  /**
   * Bytes of the disk when the snapshot was made, unsigned.
   *
   * @param now the answer if the entry does not say: the disk's size today
   */
  public long diskSize(long now) {
    return extra.size() >= 16 ? extra.view().getLong(8) : now;
  }

  /** Instructions run so far, unsigned; -1 if that was not counted or is not known. */
  public long instructionCount() {
    return extra.size() >= 24 ? extra.view().getLong(16) : -1;
  }

  private static long u32(ByteBuffer in) {
    return Integer.toUnsignedLong(in.getInt());
  }
}
