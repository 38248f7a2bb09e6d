package dev.imago.cli;

import java.nio.ByteBuffer;

/** What {@code io} prints of a request that has ended. */
final class IoReport {
  private IoReport() {}

  /**
   * What was done and how long it took.
   *
   * @param word {@code read}, {@code wrote} or {@code discard}
   * @param nanos how long it took
   * @param machine whether for programs: one line without words
   */
  static String statistics(
      String word, long guestOffset, long length, long nanos, boolean machine) {
    double seconds = Math.max(nanos, 1) / 1e9;
    if (machine) {
      return length
          + ",1,"
          + clock(seconds)
          + ","
          + IoNumber.fixed(length / seconds, 3)
          + ","
          + IoNumber.fixed(1 / seconds, 3)
          + "\n";
    }
    return word
        + " "
        + length
        + "/"
        + length
        + " bytes at offset "
        + guestOffset
        + "\n"
        + IoNumber.human(length)
        + ", 1 ops; "
        + (seconds < 1 ? two(seconds) + " sec" : clock(seconds))
        + " ("
        + IoNumber.human(length / seconds)
        + "/sec and "
        + IoNumber.fixed(1 / seconds, 4)
        + " ops/sec)\n";
  }

  private static String clock(double seconds) {
    long whole = (long) seconds;
    long minutes = whole / 60 % 60;
    return whole / 3600 + (minutes < 10 ? ":0" : ":") + minutes + ":" + two(seconds % 60);
  }

  /** Two digits, a point, two digits; what is less is cut off. */
  private static String two(double seconds) {
    long hundredths = (long) (seconds * 100);
    return "%02d.%02d".formatted(hundredths / 100, hundredths % 100);
  }

  /** The bytes between position and limit, 16 a line. */
  static String dump(ByteBuffer bytes, long guestOffset) {
    StringBuilder text = new StringBuilder();
    for (int line = bytes.position(); line < bytes.limit(); line += 16) {
      text.append("%08x:  ".formatted(guestOffset + line - bytes.position()));
      int end = Math.min(line + 16, bytes.limit());
      for (int i = line; i < end; i++) {
        byte b = bytes.get(i);
        text.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        text.append(' ');
      }
      text.append(' ');
      for (int i = line; i < end; i++) {
        char c = (char) (bytes.get(i) & 0xff);
        boolean plain = c < 0x80 && Character.isLetterOrDigit(c);
        text.append(plain ? c : '.');
      }
      text.append('\n');
    }
    return text.toString();
  }
}
