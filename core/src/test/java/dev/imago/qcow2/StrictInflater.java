package dev.imago.qcow2;

import java.io.ByteArrayOutputStream;

/** Inflates a raw deflate stream, plainly, and notes how far back it refers. RFC 1951. */
final class StrictInflater {
  private static final int[] ORDER = {
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15
  };
  private static final int LONGEST_CODE = 15;

  private final byte[] in;
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private int bit;
  private int farthest;

  StrictInflater(byte[] in) {
    this.in = in;
  }

  /** The longest distance met. */
  int farthest() {
    return farthest;
  }

  byte[] inflate() {
    boolean last;
    do {
      last = bits(1) == 1;
      switch (bits(2)) {
        case 0 -> stored();
        case 1 -> block(fixedLengths(), flat(30, 5));
        case 2 -> dynamic();
        default -> throw new IllegalStateException("block type 3");
      }
    } while (!last);
    return out.toByteArray();
  }

  private int bits(int count) {
    int value = 0;
    for (int i = 0; i < count; i++, bit++) {
      value |= (in[bit >>> 3] >>> (bit & 7) & 1) << i;
    }
    return value;
  }

  private void stored() {
    bit = bit + 7 & ~7;
    int length = bits(16);
    if (bits(16) != (length ^ 0xffff)) {
      throw new IllegalStateException("stored length");
    }
    for (int i = 0; i < length; i++) {
      out.write(bits(8));
    }
  }

  private static int[] flat(int count, int length) {
    int[] lengths = new int[count];
    java.util.Arrays.fill(lengths, length);
    return lengths;
  }

  private static int[] fixedLengths() {
    int[] lengths = flat(288, 8);
    java.util.Arrays.fill(lengths, 144, 256, 9);
    java.util.Arrays.fill(lengths, 256, 280, 7);
    return lengths;
  }

  private void dynamic() {
    int literals = bits(5) + 257;
    int distances = bits(5) + 1;
    int[] codes = new int[19];
    int given = bits(4) + 4;
    for (int i = 0; i < given; i++) {
      codes[ORDER[i]] = bits(3);
    }
    int[] all = new int[literals + distances];
    for (int i = 0; i < all.length; ) {
      int symbol = symbol(codes);
      int value = symbol == 16 ? all[i - 1] : symbol < 16 ? symbol : 0;
      int times =
          switch (symbol) {
            case 16 -> 3 + bits(2);
            case 17 -> 3 + bits(3);
            case 18 -> 11 + bits(7);
            default -> 1;
          };
      for (; times > 0; times--) {
        all[i++] = value;
      }
    }
    block(
        java.util.Arrays.copyOf(all, literals),
        java.util.Arrays.copyOfRange(all, literals, all.length));
  }

  private void block(int[] literals, int[] distances) {
    for (int symbol = symbol(literals); symbol != 256; symbol = symbol(literals)) {
      if (symbol < 256) {
        out.write(symbol);
        continue;
      }
      int length = length(symbol - 257);
      int distance = distance(symbol(distances));
      farthest = Math.max(farthest, distance);
      byte[] before = out.toByteArray();
      for (int i = 0; i < length; i++) {
        out.write(before[before.length - distance + i % distance]);
      }
    }
  }

  private int length(int code) {
    if (code == 28) {
      return 258;
    }
    int extra = code < 8 ? 0 : (code - 4) / 4;
    int base = code < 8 ? 3 + code : 3 + ((4 + code % 4) << extra);
    return base + bits(extra);
  }

  private int distance(int code) {
    int extra = code < 4 ? 0 : code / 2 - 1;
    int base = code < 4 ? 1 + code : 1 + ((2 + code % 2) << extra);
    return base + bits(extra);
  }

  /** The next symbol of a canonical code, one bit at a time. */
  private int symbol(int[] lengths) {
    int code = 0;
    int first = 0;
    for (int length = 1; length <= LONGEST_CODE; length++) {
      code = code << 1 | bits(1);
      int count = 0;
      for (int symbol = 0; symbol < lengths.length; symbol++) {
        if (lengths[symbol] == length) {
          if (code == first + count) {
            return symbol;
          }
          count++;
        }
      }
      first = first + count << 1;
    }
    throw new IllegalStateException("no such code at bit " + bit);
  }
}
