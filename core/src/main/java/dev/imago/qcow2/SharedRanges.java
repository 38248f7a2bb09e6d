package dev.imago.qcow2;

import java.io.IOException;
import java.util.Arrays;

/**
 * Ranges of host bytes of which many may overlap: cuts them into pieces that do not, each with the
 * number of ranges that hold it. So a piece needs to be looked at only once, however often it is
 * used.
 */
final class SharedRanges {
  private static final int FIRST_CAPACITY = 16;

  /** Starts and ends, each as offset * 2, plus 1 for a start. */
  private long[] borders = new long[FIRST_CAPACITY];

  private int count;

  /** Takes pieces. */
  interface Visitor {
    /** Called in ascending order. */
    void piece(long start, long length, int times) throws IOException;
  }

  /** Adds a range; nothing if it is empty. */
  void add(long start, long length) {
    if (length > 0) {
      if (count + 2 > borders.length) {
        borders = Arrays.copyOf(borders, borders.length * 2);
      }
      borders[count++] = start * 2 + 1;
      borders[count++] = (start + length) * 2;
    }
  }

  /** Shows all pieces. */
  void forEach(Visitor visitor) throws IOException {
    Arrays.sort(borders, 0, count);
    int times = 0;
    for (int i = 0; i + 1 < count; i++) {
      times += (borders[i] & 1) != 0 ? 1 : -1;
      long start = borders[i] >> 1;
      long end = borders[i + 1] >> 1;
      if (times > 0 && end > start) {
        visitor.piece(start, end - start, times);
      }
    }
  }
}
