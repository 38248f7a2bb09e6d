package dev.imago.qcow2;

import dev.imago.image.ImageFormatException;
import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.BitmapTableEntry;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;

/**
 * Reads and writes the bits of bitmaps: tables, and the clusters that they lead to.
 *
 * <p>Spec: qcow2 digest, section 8.
 */
final class BitmapData {
  private final String image;
  private final Storage storage;
  private final Geometry geometry;

  BitmapData(String image, Storage storage, Geometry geometry) {
    this.image = image;
    this.storage = storage;
    this.geometry = geometry;
  }

  /**
   * Reads a bitmap's bits.
   *
   * @param size bytes of the disk
   * @throws ImageFormatException if they cannot be had: zeroes must not be taken for what is
   *     missing
   */
  DirtyBits read(BitmapDirectoryEntry entry, long size) throws IOException {
    long bytes = DirtyBits.bytes(size, entry.granularityBits());
    long needed = geometry.clusters(bytes);
    if (tooLong(bytes)) {
      throw broken(
          entry.tableOffset(),
          entry,
          "%d bytes; at most %d".formatted(bytes, BitmapDirectoryEntry.MAX_BITMAP_BYTES));
    }
    if (entry.tableSize() < needed) {
      throw broken(
          entry.tableOffset(),
          entry,
          "a table of %d entries; the disk needs %d".formatted(entry.tableSize(), needed));
    }
    long[] table = table(entry, needed);
    DirtyBits bits = new DirtyBits(size, entry.granularityBits());
    ByteBuffer cluster = ByteBuffer.allocate(geometry.clusterSize());
    for (int i = 0; i < table.length; i++) {
      long firstByte = geometry.clusterOffset(i);
      long hostOffset = BitmapTableEntry.hostOffset(table[i]);
      long at = entry.tableOffset() + (long) i * Geometry.ENTRY_BYTES;
      if (BitmapTableEntry.corrupt(table[i], geometry)) {
        throw broken(at, entry, "table entry 0x%x breaks the format".formatted(table[i]));
      } else if (table[i] == BitmapTableEntry.ALL_ONES) {
        bits.readOnes(firstByte, geometry.clusterSize());
      } else if (hostOffset >= storage.size()) {
        throw broken(at, entry, "bits at 0x%x, behind the file's end".formatted(hostOffset));
      } else if (hostOffset != 0) {
        storage.read(cluster.clear(), hostOffset);
        bits.read(cluster.flip(), firstByte);
      }
    }
    bits.kept();
    return bits;
  }

  /** The first entries of a bitmap's table. */
  long[] table(BitmapDirectoryEntry entry, long count) throws IOException {
    long end = entry.tableOffset() + count * Geometry.ENTRY_BYTES;
    if (end - storage.size() >= geometry.clusterSize()) {
      throw broken(
          entry.tableOffset(),
          entry,
          "its table ends at 0x%x, behind the file's end".formatted(end));
    }
    return Words.read(storage, entry.tableOffset(), (int) count);
  }

  private ImageFormatException broken(long at, BitmapDirectoryEntry entry, String problem) {
    return new ImageFormatException(image, at, "bitmap '" + entry.name() + "'", problem);
  }

  private boolean tooLong(long bytes) {
    return geometry.clusterOffset(geometry.clusters(bytes)) > BitmapDirectoryEntry.MAX_BITMAP_BYTES;
  }

  /**
   * Refuses a bitmap that would be longer than the format allows, or empty.
   *
   * @param size bytes of the disk
   */
  void requireLimit(long size, int granularityBits, String name) {
    if (size == 0) {
      throw new IllegalArgumentException(
          "bitmap '%s': a disk of 0 bytes cannot have bitmaps".formatted(name));
    }
    if (tooLong(DirtyBits.bytes(size, granularityBits))) {
      throw new IllegalArgumentException(
          "Too much space will be occupied by the bitmap. Use larger granularity");
    }
  }

  /**
   * Writes bits and a table that leads to them where nothing was before.
   *
   * @param taken gets the clusters that were taken, also if this fails
   * @return the entry with that table
   */
  BitmapDirectoryEntry write(
      BitmapDirectoryEntry entry,
      DirtyBits bits,
      long size,
      Allocator allocator,
      List<Allocator.Taken> taken)
      throws IOException {
    long bytes = DirtyBits.bytes(size, entry.granularityBits());
    long[] table = new long[(int) geometry.clusters(bytes)];
    ByteBuffer cluster = ByteBuffer.allocate(geometry.clusterSize());
    long free = 0;
    long next = 0;
    for (int i = 0; i < table.length; i++) {
      long firstByte = geometry.clusterOffset(i);
      if (bits.uniform(firstByte, geometry.clusterSize(), false)) {
        table[i] = BitmapTableEntry.ALL_ZEROES;
      } else if (bits.uniform(firstByte, geometry.clusterSize(), true)) {
        table[i] = BitmapTableEntry.ALL_ONES;
      } else {
        if (free == 0) {
          Allocator.Taken run = allocator.take(Math.min(table.length - i, 256));
          taken.add(run);
          free = run.count();
          next = run.firstCluster();
        }
        table[i] = geometry.clusterOffset(next);
        bits.write(cluster.clear(), firstByte);
        storage.write(cluster.flip(), table[i]);
        next++;
        free--;
      }
    }
    if (free > 0) {
      Allocator.Taken last = taken.removeLast();
      if (free < last.count()) {
        taken.add(new Allocator.Taken(last.firstCluster(), last.count() - free, false));
      }
      allocator.giveBack(next, free);
    }
    long tableBytes = (long) table.length * Geometry.ENTRY_BYTES;
    Allocator.Taken place = allocator.takeTogether(geometry.clusters(tableBytes));
    taken.add(place);
    long tableOffset = geometry.clusterOffset(place.firstCluster());
    storage.write(Words.bytes(table), tableOffset);
    return entry.withTable(tableOffset, table.length);
  }
}
