package dev.imago;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Finds zeroes in buffers. The only place that looks for them. */
final class ZeroScan {
  private ZeroScan() {}

  /** Told of runs, in ascending order and without gaps. */
  @FunctionalInterface
  interface Sink {
    /** The buffer's bytes from {@code from} to before {@code to}. */
    void run(boolean zero, int from, int to) throws IOException;
  }

  /**
   * Whether the buffer's bytes from {@code from} to before {@code to} are all zero. Position and
   * limit do not matter; an empty range is zero.
   */
  static boolean isZero(ByteBuffer buffer, int from, int to) {
    return isZeroIn(view(buffer), from, to);
  }

  private static ByteBuffer view(ByteBuffer buffer) {
    return buffer.duplicate().clear().order(ByteOrder.nativeOrder());
  }

  private static boolean isZeroIn(ByteBuffer b, int from, int to) {
    int at = from;
    // Eight loads and one branch: as fast as memory, and no compiler needs to be clever for it.
    for (; to - at >= 64; at += 64) {
      long any =
          b.getLong(at)
              | b.getLong(at + 8)
              | b.getLong(at + 16)
              | b.getLong(at + 24)
              | b.getLong(at + 32)
              | b.getLong(at + 40)
              | b.getLong(at + 48)
              | b.getLong(at + 56);
      if (any != 0) {
        return false;
      }
    }
    for (; to - at >= 8; at += 8) {
      if (b.getLong(at) != 0) {
        return false;
      }
    }
    for (; at < to; at++) {
      if (b.get(at) != 0) {
        return false;
      }
    }
    return true;
  }

  /**
   * Cuts a range of a buffer into runs of data and runs of zeroes.
   *
   * @param offset where the range starts on the disk: runs begin and end at multiples of {@code
   *     unit} there, and at the range's ends
   * @param unit a power of two, at least 8; only a unit whose bytes are all zero counts as zeroes
   * @param shortest runs of zeroes below this many bytes count as data, unless they are all of the
   *     range
   */
  static void split(
      ByteBuffer buffer, int from, int to, long offset, int unit, int shortest, Sink sink)
      throws IOException {
    ByteBuffer b = view(buffer);
    int data = from;
    int zeroes = from;
    for (int at = from; at < to; ) {
      int end = (int) Math.min(to, at + unit - ((offset + at - from) & (unit - 1)));
      if (isZeroIn(b, at, end)) {
        at = end;
        continue;
      }
      if (zeroes < at && at - zeroes >= shortest) {
        told(sink, false, data, zeroes);
        sink.run(true, zeroes, at);
        data = at;
      }
      at = dataEnd(b, end, to, unit);
      zeroes = at;
    }
    if (to - zeroes >= shortest || zeroes == from) {
      told(sink, false, data, zeroes);
      told(sink, true, zeroes, to);
    } else {
      told(sink, false, data, to);
    }
  }

  /**
   * Passes over units that do not begin with a zero word. Short, so that the processor waits for
   * the memory of several units at a time: fresh data is in none of its caches.
   */
  private static int dataEnd(ByteBuffer b, int from, int to, int unit) {
    int at = from;
    while (at <= to - 8 && b.getLong(at) != 0) {
      at += Math.min(unit, to - at);
    }
    return at;
  }

  private static void told(Sink sink, boolean zero, int from, int to) throws IOException {
    if (from < to) {
      sink.run(zero, from, to);
    }
  }
}
