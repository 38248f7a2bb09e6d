package dev.imago.cli;

import java.math.BigDecimal;
import java.math.RoundingMode;

/** Numbers as {@code io} reads and prints them. */
final class IoNumber {
  /** No request is longer than this, in bytes: the last whole sector that a C int can count. */
  static final long MAX_REQUEST = Integer.MAX_VALUE & -512L;

  private static final String[] UNITS = {"EiB", "PiB", "TiB", "GiB", "MiB", "KiB"};

  private IoNumber() {}

  /** An offset or a length in bytes; {@code k}, {@code M}… may stand behind it. */
  static long parse(Terminal terminal, String text) throws IoFailure {
    Size size = Size.parse(text);
    if (size.kind() == Size.Kind.INVALID) {
      throw IoFailure.said(
          "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- " + text);
    }
    if (size.kind() == Size.Kind.OUT_OF_RANGE || size.bytes() < 0) {
      throw IoFailure.said("Parsing error: argument too large -- " + text);
    }
    Size.warnOfHex(terminal, size, text);
    return size.bytes();
  }

  /** The byte that a pattern is made of. */
  static byte pattern(String text) throws IoFailure {
    long number = decode(text);
    if (number < 0 || number > 255) {
      throw IoFailure.said(text + " is not a valid pattern byte");
    }
    return (byte) number;
  }

  /** A number of milliseconds. */
  static long milliseconds(String text) throws IoFailure {
    long number = decode(text);
    if (number < 0) {
      throw IoFailure.said(text + " is not a valid number");
    }
    return number;
  }

  /** A whole number in C's notation: {@code 0x1f}, {@code 017}, {@code 15}; -1 if it is none. */
  private static long decode(String text) {
    try {
      // Java's other notation for hexadecimal numbers is none of C's.
      return text.contains("#") ? -1 : Long.decode(text);
    } catch (NumberFormatException e) {
      return -1;
    }
  }

  /** A whole number of bytes for people. */
  static String human(long bytes) {
    return human((double) bytes);
  }

  /** A size for people: {@code 64 KiB}, {@code 8.500 KiB}, {@code 12 bytes}. */
  static String human(double bytes) {
    double unit = 0x1p60;
    for (String name : UNITS) {
      if (bytes >= unit) {
        return decimals(bytes / unit, 3) + " " + name;
      }
      unit /= 1024;
    }
    return decimals(bytes, 6) + " bytes";
  }

  /** So many places behind the point, or none at all if all of them are zero. */
  private static String decimals(double number, int places) {
    String text = fixed(number, places);
    int point = text.indexOf('.');
    return text.endsWith("0".repeat(places)) ? text.substring(0, point) : text;
  }

  /** So many places behind the point, rounded as C does. */
  static String fixed(double number, int places) {
    return new BigDecimal(number).setScale(places, RoundingMode.HALF_EVEN).toPlainString();
  }
}
