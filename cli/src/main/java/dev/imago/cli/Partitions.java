package dev.imago.cli;

import dev.imago.image.Image;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Finds a partition of a disk by its number: of a GUID partition table, or one of the four primary
 * ones, or the logical ones from 5 on, of a master boot record. Sectors have 512 bytes.
 */
final class Partitions {
  /** The highest number. */
  static final int MOST = 128;

  private static final int SECTOR = 512;
  private static final int MBR_TABLE = 446;
  private static final int MBR_ENTRY = 16;
  private static final long GPT_SIGNATURE = 0x5452415020494645L;

  private final Image image;

  private Partitions(Image image) {
    this.image = image;
  }

  /**
   * The bytes of a partition.
   *
   * @param number 1 to {@link #MOST}
   * @throws Failure if there is none of this number, or it does not lie within the disk
   */
  static Image.Range find(Image image, int number) throws Failure, IOException {
    return new Partitions(image).find(number);
  }

  private Image.Range find(int number) throws Failure, IOException {
    ByteBuffer header = sector(1);
    Image.Range found = header.getLong(0) == GPT_SIGNATURE ? ofGpt(header, number) : ofMbr(number);
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

  private ByteBuffer sector(long number) throws IOException {
    ByteBuffer sector = ByteBuffer.allocate(SECTOR).order(ByteOrder.LITTLE_ENDIAN);
    if (number >= 0 && number < image.size() / SECTOR) {
      image.read(sector, number * SECTOR);
    }
    return sector.clear();
  }

  /** Header: first sector of the entries at 72, their number at 80, the length of one at 84. */
  private Image.Range ofGpt(ByteBuffer header, int number) throws Failure, IOException {
    long table = header.getLong(72);
    long count = Integer.toUnsignedLong(header.getInt(80));
    long length = Integer.toUnsignedLong(header.getInt(84));
    if (length < 128 || length > 4096 || Long.bitCount(length) != 1) {
      throw new Failure(
          "%s: partition table header, entry size: %d; a power of two from 128 on is allowed"
              .formatted(image.name(), length));
    }
    if (number > count) {
      return none();
    }
    long at = (number - 1) * length;
    ByteBuffer entry = sector(table + at / SECTOR);
    int in = (int) (at % SECTOR);
    if (entry.getLong(in) == 0 && entry.getLong(in + 8) == 0) {
      return none(); // its type says that it is not in use
    }
    long first = entry.getLong(in + 32);
    long last = entry.getLong(in + 40);
    return range(first, last - first + 1);
  }

  /** In bytes; what cannot be is negative. */
  private static Image.Range range(long firstSector, long sectors) {
    boolean fits =
        firstSector >= 0
            && sectors >= 0
            && firstSector <= Long.MAX_VALUE / SECTOR
            && sectors <= Long.MAX_VALUE / SECTOR;
    return fits ? new Image.Range(firstSector * SECTOR, sectors * SECTOR) : new Image.Range(-1, -1);
  }

  private Image.Range ofMbr(int number) throws Failure, IOException {
    ByteBuffer record = sector(0);
    if (record.getShort(510) != (short) 0xaa55) {
      throw new Failure(image.name() + ": There is no partition table");
    }
    if (number <= 4) {
      return entry(record, number - 1, 0);
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
      ByteBuffer record = sector(at);
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
    return range(relativeTo + start(record, index), sectors);
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
