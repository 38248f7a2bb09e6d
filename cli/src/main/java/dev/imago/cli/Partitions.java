package dev.imago.cli;

import dev.imago.image.Image;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32;

/**
 * Finds a partition of a disk by its number: of a GUID partition table (GPT), with sectors of 512
 * or 4096 bytes, or one of the four primary ones, or the logical ones from 5 on, of a master boot
 * record (MBR), with sectors of 512 bytes.
 *
 * <p>As for Linux a disk has a GPT only if its MBR says so by a partition of type 0xee; otherwise a
 * GPT is a left-over.
 */
final class Partitions {
  /** The highest number. */
  static final int MOST = 128;

  private static final int SECTOR = 512;
  private static final int MBR_TABLE = 446;
  private static final int MBR_ENTRY = 16;
  private static final byte PROTECTIVE = (byte) 0xee;
  private static final long GPT_SIGNATURE = 0x5452415020494645L;
  private static final int GPT_HEADER = 92;
  private static final int GPT_ENTRY = 128;

  /** Bytes of all entries of a GPT, at most: a hundred times as many as usual. */
  private static final int GPT_ENTRIES = 1 << 20;

  private final Image image;

  private Partitions(Image image) {
    this.image = image;
  }

  /**
   * The bytes of a partition.
   *
   * @param number 1 to {@link #MOST}
   * @throws Failure if there is none of this number, it does not lie within the disk, or the table
   *     is damaged
   */
  static Image.Range find(Image image, int number) throws Failure, IOException {
    return new Partitions(image).find(number);
  }

  private Image.Range find(int number) throws Failure, IOException {
    ByteBuffer record = read(0, SECTOR);
    if (record.getShort(510) != (short) 0xaa55) {
      throw new Failure(image.name() + ": There is no partition table");
    }
    Image.Range found = isProtective(record) ? ofGpt(number) : ofMbr(record, number);
    if (found.length() == 0) {
      throw new Failure(image.name() + ": Could not find partition " + number);
    }
    if (found.length() < 0
        || found.guestOffset() < 0
        || found.guestOffset() > image.size() - found.length()) {
      throw new Failure(
          "%s: Partition %d ends behind the disk's end (%d)"
              .formatted(image.name(), number, image.size()));
    }
    return found;
  }

  private static Image.Range none() {
    return new Image.Range(0, 0);
  }

  /** Little endian; what lies beyond the disk's end is zero. */
  private ByteBuffer read(long offset, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
    if (offset >= 0 && offset < image.size()) {
      image.read(bytes.limit((int) Math.min(length, image.size() - offset)), offset);
    }
    return bytes.clear();
  }

  private static boolean isProtective(ByteBuffer record) {
    for (int i = 0; i < 4; i++) {
      if (record.get(MBR_TABLE + i * MBR_ENTRY + 4) == PROTECTIVE) {
        return true;
      }
    }
    return false;
  }

  /** The header is in sector 1: that tells how long a sector is. */
  private Image.Range ofGpt(int number) throws Failure, IOException {
    for (int sector : new int[] {512, 4096}) {
      ByteBuffer header = read(sector, sector);
      if (header.getLong(0) == GPT_SIGNATURE) {
        return ofGpt(header, sector, number);
      }
    }
    throw new Failure(
        "%s: The MBR announces a GPT, and there is none at offset 512 or 4096"
            .formatted(image.name()));
  }

  /**
   * Header: its length at 12, its checksum at 16, first sector of the entries at 72, their number
   * at 80, the length of one at 84, their checksum at 88.
   */
  private Image.Range ofGpt(ByteBuffer header, int sector, int number) throws Failure, IOException {
    long headerLength = Integer.toUnsignedLong(header.getInt(12));
    if (headerLength < GPT_HEADER || headerLength > sector) {
      throw damaged(sector, 12, "header size", headerLength, GPT_HEADER + " to " + sector);
    }
    int headerSum = header.getInt(16);
    requireSum(sector, 16, "header", headerSum, header.putInt(16, 0), (int) headerLength);
    long table = header.getLong(72);
    long count = Integer.toUnsignedLong(header.getInt(80));
    long length = Integer.toUnsignedLong(header.getInt(84));
    if (length < GPT_ENTRY || length > 4096 || Long.bitCount(length) != 1) {
      throw damaged(sector, 84, "entry size", length, "a power of two from 128 to 4096");
    }
    if (count * length > GPT_ENTRIES) {
      throw damaged(sector, 80, "number of entries", count, "up to " + GPT_ENTRIES / length);
    }
    if (table < 2 || table > image.size() / sector) {
      throw damaged(
          sector, 72, "first sector of the entries", table, "2 to " + image.size() / sector);
    }
    ByteBuffer entries = read(table * sector, (int) (count * length));
    requireSum(sector, 88, "entries", header.getInt(88), entries, entries.capacity());
    return number > count
        ? none()
        : gptEntry(entries.slice((int) ((number - 1) * length), GPT_ENTRY), sector);
  }

  private static Image.Range gptEntry(ByteBuffer slice, int sector) {
    ByteBuffer entry = slice.order(ByteOrder.LITTLE_ENDIAN);
    if (entry.getLong(0) == 0 && entry.getLong(8) == 0) {
      return none(); // its type says that it is not in use
    }
    long first = entry.getLong(32);
    return range(first, entry.getLong(40) - first + 1, sector);
  }

  private Failure damaged(long header, int field, String what, Object found, String allowed) {
    return new Failure(
        "%s: GPT %s at offset %d: %s; allowed is %s. The backup at the disk's end is not used"
            .formatted(image.name(), what, header + field, found, allowed));
  }

  private void requireSum(
      long header, int field, String what, int stored, ByteBuffer bytes, int length)
      throws Failure {
    CRC32 sum = new CRC32();
    sum.update(bytes.slice(0, length));
    if ((int) sum.getValue() != stored) {
      throw damaged(
          header,
          field,
          "checksum of the " + what,
          "0x%08x".formatted(stored),
          "0x%08x".formatted((int) sum.getValue()));
    }
  }

  /** In bytes; what cannot be is negative. */
  private static Image.Range range(long firstSector, long sectors, int sector) {
    boolean fits =
        firstSector >= 0
            && sectors >= 0
            && firstSector <= Long.MAX_VALUE / sector
            && sectors <= Long.MAX_VALUE / sector;
    return fits ? new Image.Range(firstSector * sector, sectors * sector) : new Image.Range(-1, -1);
  }

  private Image.Range ofMbr(ByteBuffer record, int number) throws IOException {
    if (number <= 4) {
      // What holds the logical ones is none itself.
      return isExtended(record, number - 1) ? none() : entry(record, number - 1, 0);
    }
    long extended = 0;
    for (int i = 0; i < 4 && extended == 0; i++) {
      if (isExtended(record, i)) {
        extended = start(record, i);
      }
    }
    return extended == 0 ? none() : logical(extended, number - 5);
  }

  /** Each record of the chain has a partition, relative to itself, and the place of the next. */
  private Image.Range logical(long extended, int index) throws IOException {
    long at = extended;
    for (int i = 0; i <= index; i++) {
      ByteBuffer record = read(at * SECTOR, SECTOR);
      if (record.getShort(510) != (short) 0xaa55) {
        return none();
      }
      if (i == index) {
        return entry(record, 0, at);
      }
      if (!isExtended(record, 1)) {
        return none();
      }
      at = extended + start(record, 1);
    }
    return none();
  }

  private static Image.Range entry(ByteBuffer record, int index, long relativeTo) {
    int at = MBR_TABLE + index * MBR_ENTRY;
    if (record.get(at + 4) == 0) {
      return none();
    }
    long sectors = Integer.toUnsignedLong(record.getInt(at + 12));
    return range(relativeTo + start(record, index), sectors, SECTOR);
  }

  private static long start(ByteBuffer record, int index) {
    return Integer.toUnsignedLong(record.getInt(MBR_TABLE + index * MBR_ENTRY + 8));
  }

  private static boolean isExtended(ByteBuffer record, int index) {
    return switch (record.get(MBR_TABLE + index * MBR_ENTRY + 4)) {
      case 0x05, 0x0f, (byte) 0x85 -> true;
      default -> false;
    };
  }
}
