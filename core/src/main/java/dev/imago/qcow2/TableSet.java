package dev.imago.qcow2;

import java.io.IOException;
import java.util.Arrays;

/**
 * The L2 tables of an image: host offset, how many L1 entries lead to it (65535 stands for more,
 * too), and whether an active one does. A table costs 8 bytes, however often it is named.
 */
final class TableSet {
  /** More tables than this are not looked at; an L1 table has at most 4 Mi. */
  static final int MAX_TABLES = 5 << 20;

  private static final int BATCH = 1 << 17;
  private static final int OFFSET_SHIFT = 9;
  private static final int TIMES_BITS = 16;
  private static final long MAX_TIMES = (1 << TIMES_BITS) - 1;

  /** Sorted by offset: (offset / 512) << 17 | times << 1 | active. */
  private long[] tables = new long[0];

  private final long[] batch = new long[BATCH];
  private int batched;

  /** Takes tables. */
  interface Visitor {
    /** Called in ascending order of offsets. */
    void table(long hostOffset, int times, boolean active) throws IOException;
  }

  /**
   * Adds a reference; forgets it if there are more than {@link #MAX_TABLES} tables already.
   *
   * @param hostOffset a multiple of 512 below 2^56
   */
  void add(long hostOffset, int times, boolean active) {
    if (tables.length > MAX_TABLES) {
      return;
    }
    if (batched == BATCH) {
      compact();
    }
    batch[batched++] = pack(hostOffset >>> OFFSET_SHIFT, times, active ? 1 : 0);
  }

  private static long pack(long sector, long times, long active) {
    return sector << TIMES_BITS + 1 | Math.min(times, MAX_TIMES) << 1 | active;
  }

  private static long sector(long table) {
    return table >>> TIMES_BITS + 1;
  }

  private static long times(long table) {
    return table >>> 1 & MAX_TIMES;
  }

  /** Merges what was added lately into the sorted tables. */
  private void compact() {
    sortUnsigned(batch, batched);
    long[] merged = new long[tables.length + batched];
    int out = 0;
    int a = 0;
    int b = 0;
    while (a < tables.length || b < batched) {
      boolean old =
          b == batched || (a < tables.length && Long.compareUnsigned(tables[a], batch[b]) <= 0);
      long next = old ? tables[a++] : batch[b++];
      if (out > 0 && sector(merged[out - 1]) == sector(next)) {
        long last = merged[out - 1];
        merged[out - 1] = pack(sector(last), times(last) + times(next), (last | next) & 1);
      } else {
        merged[out++] = next;
      }
    }
    tables = out == merged.length ? merged : Arrays.copyOf(merged, out);
    batched = 0;
  }

  private static void sortUnsigned(long[] values, int count) {
    for (int i = 0; i < count; i++) {
      values[i] ^= Long.MIN_VALUE;
    }
    Arrays.sort(values, 0, count);
    for (int i = 0; i < count; i++) {
      values[i] ^= Long.MIN_VALUE;
    }
  }

  /** How many there are. */
  int size() {
    compact();
    return tables.length;
  }

  /** Shows all tables. */
  void forEach(Visitor visitor) throws IOException {
    compact();
    for (long table : tables) {
      visitor.table(sector(table) << OFFSET_SHIFT, (int) times(table), (table & 1) != 0);
    }
  }
}
