package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.Arrays;

/**
 * Tells what was lost from what never was, where reading goes around damage. Otherwise bytes behind
 * the end of a file read as zero: a table there would map nothing, and its clusters would show what
 * a backing image has in their place.
 */
final class Rescue {
  /** An L1 entry that is lost: it leads behind the end of any file, to the start of a cluster. */
  private static final long LOST = Geometry.OFFSET_MASK & -(1L << 21);

  private static final int SECTOR = 512;

  private Rescue() {}

  /** Reads an L1 table; entries in sectors that cannot be read, or are not there, are lost. */
  static long[] l1(Storage storage, long hostOffset, int count) throws IOException {
    long[] entries = new long[count];
    long size = storage.size();
    int step = SECTOR / Geometry.ENTRY_BYTES;
    for (int i = 0; i < count; i += step) {
      int end = Math.min(count, i + step);
      long at = hostOffset + (long) i * Geometry.ENTRY_BYTES;
      try {
        int there = (int) Math.clamp((size - at) / Geometry.ENTRY_BYTES, 0L, (long) end - i);
        Arrays.fill(entries, i + there, end, LOST);
        System.arraycopy(Words.read(storage, at, end - i), 0, entries, i, there);
      } catch (IOException e) {
        Arrays.fill(entries, i, end, LOST);
      }
    }
    return entries;
  }

  /**
   * Refuses a table whose L1 entry is lost, or that ends in the file before its part that is wanted
   * does.
   *
   * @param hostOffset 0 if there is none
   * @param length up to the end of that part, in bytes
   * @param l1Entry host offset of the entry that leads to it
   */
  static void requireTable(Storage storage, long hostOffset, long length, long l1Entry)
      throws IOException {
    if (hostOffset == 0) {
      return;
    }
    long size = storage.size();
    if (hostOffset == LOST) {
      throw new CorruptImageException(
          storage.name(), l1Entry, "L1 entry", "cannot be read; what it leads to is lost");
    }
    if (hostOffset + length > size) {
      throw new CorruptImageException(
          storage.name(),
          l1Entry,
          "L1 entry",
          "L2 table at 0x%x, %s the end of the file, 0x%x"
              .formatted(hostOffset, hostOffset < size ? "across" : "behind", size));
    }
  }

  /**
   * How many of some bytes of data lie before the end of their file. The rest of the cluster in
   * which the file ends is taken for zeroes that were never written.
   *
   * @return at least 1
   * @throws CorruptImageException if the first of them does not
   */
  static long there(Storage data, Geometry geometry, long hostOffset, long length)
      throws IOException {
    long size = data.size();
    long end = geometry.clusterOffset(geometry.clusters(size));
    if (hostOffset >= end) {
      throw new CorruptImageException(
          data.name(),
          hostOffset,
          "data cluster",
          "behind the end of the file, 0x%x".formatted(size));
    }
    return Math.min(length, end - hostOffset);
  }
}
