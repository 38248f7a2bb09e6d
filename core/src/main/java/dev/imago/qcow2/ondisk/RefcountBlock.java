package dev.imago.qcow2.ondisk;

import java.nio.ByteBuffer;

/**
 * The packed array of counts that a refcount block is. Counts of 8 bits and more are big endian;
 * below, the first of a byte is that byte's lowest.
 *
 * <p>Spec: qcow2 digest, section 5.
 */
public final class RefcountBlock {
  private RefcountBlock() {}

  /**
   * Count number {@code index}, unsigned.
   *
   * @param block its first byte is the block's (or the part's) first
   * @param order counts have {@code 1 << order} bits, 0 to 6
   */
  public static long get(ByteBuffer block, int index, int order) {
    return switch (order) {
      case 3 -> Byte.toUnsignedInt(block.get(index));
      case 4 -> Short.toUnsignedInt(block.getShort(index << 1));
      case 5 -> Integer.toUnsignedLong(block.getInt(index << 2));
      case 6 -> block.getLong(index << 3);
      default -> {
        int bit = index << order;
        int mask = (1 << (1 << order)) - 1;
        yield block.get(bit >>> 3) >>> (bit & 7) & mask;
      }
    };
  }

  /** Sets count number {@code index} to the low bits of {@code value}. */
  public static void set(ByteBuffer block, int index, int order, long value) {
    switch (order) {
      case 3 -> block.put(index, (byte) value);
      case 4 -> block.putShort(index << 1, (short) value);
      case 5 -> block.putInt(index << 2, (int) value);
      case 6 -> block.putLong(index << 3, value);
      default -> {
        int bit = index << order;
        int mask = (1 << (1 << order)) - 1 << (bit & 7);
        int old = block.get(bit >>> 3) & ~mask;
        block.put(bit >>> 3, (byte) (old | ((int) value << (bit & 7) & mask)));
      }
    }
  }

  /** Sets the counts from {@code from} to {@code to}, exclusive, to 1. */
  public static void fillOnes(ByteBuffer block, int from, int to, int order) {
    int i = from;
    if (order < 3) {
      int perByte = 8 >>> order;
      byte all = (byte) new int[] {0xff, 0x55, 0x11}[order];
      for (; i < to && i % perByte != 0; i++) {
        set(block, i, order, 1);
      }
      for (; i + perByte <= to; i += perByte) {
        block.put(i / perByte, all);
      }
    }
    for (; i < to; i++) {
      set(block, i, order, 1);
    }
  }
}
