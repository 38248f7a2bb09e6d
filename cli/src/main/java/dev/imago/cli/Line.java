package dev.imago.cli;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Puts a line of output together as bytes. Characters and their encoding would be most of the work
 * of a command that prints thousands of lines.
 */
final class Line {
  private byte[] bytes = new byte[512];
  private int length;

  /** For {@link #text}: made once. */
  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  /** Appends bytes as they are. */
  Line text(byte[] text) {
    makeRoom(text.length);
    System.arraycopy(text, 0, bytes, length, text.length);
    length += text.length;
    return this;
  }

  /** Appends {@code 0x} and digits, or {@code 0}, and blanks up to a column. */
  Line hex(long number, int column) {
    makeRoom(column);
    int end = length + column;
    int at = length;
    if (number == 0) {
      bytes[at++] = '0';
    } else {
      bytes[at++] = '0';
      bytes[at++] = 'x';
      for (int shift = 60 - (Long.numberOfLeadingZeros(number) & ~3); shift >= 0; shift -= 4) {
        int digit = (int) (number >>> shift) & 15;
        bytes[at++] = (byte) (digit < 10 ? '0' + digit : 'a' - 10 + digit);
      }
    }
    while (at < end) {
      bytes[at++] = ' ';
    }
    length = at;
    return this;
  }

  /** Appends a number that is not negative. */
  Line decimal(long number) {
    makeRoom(0);
    int digits = 1;
    for (long rest = number; rest >= 10; rest /= 10) {
      digits++;
    }
    long rest = number;
    for (int at = length + digits - 1; at >= length; at--) {
      bytes[at] = (byte) ('0' + rest % 10);
      rest /= 10;
    }
    length += digits;
    return this;
  }

  /** Prints what was appended, and begins anew. */
  void print(PrintStream out) {
    out.write(bytes, 0, length);
    length = 0;
  }

  /** For so many bytes, or for any number. */
  private void makeRoom(int more) {
    int needed = length + Math.max(more, 20);
    if (needed > bytes.length) {
      bytes = Arrays.copyOf(bytes, 2 * needed);
    }
  }
}
