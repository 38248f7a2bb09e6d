package dev.imago.cli;

import org.jspecify.annotations.Nullable;

/**
 * A size as it stands on a command line: digits, perhaps with a fraction, or {@code 0x} and hex
 * digits; then perhaps one of {@code b k M G T P E} in either case, powers of 1024.
 *
 * @param kind whether it can be used
 * @param bytes the number, unsigned; 0 unless {@code kind} is OK
 */
record Size(Kind kind, long bytes) {
  private static final String UNITS = "bkmgtpe";

  private static final Size INVALID = new Size(Kind.INVALID, 0);
  private static final Size OUT_OF_RANGE = new Size(Kind.OUT_OF_RANGE, 0);

  /** What became of the text. */
  enum Kind {
    OK,
    /** As OK, but hexadecimal digits with a unit behind them: QEMU warns. */
    OK_HEX_WITH_UNIT,
    INVALID,
    /** 2^64 or more. */
    OUT_OF_RANGE
  }

  /** Reads one size; blanks and a plus sign may stand before it. */
  static Size parse(String text) {
    int at = 0;
    while (at < text.length() && (text.charAt(at) == ' ' || isControlBlank(text.charAt(at)))) {
      at++;
    }
    if (at < text.length() && text.charAt(at) == '+') {
      at++;
    }
    if (text.startsWith("0x", at) || text.startsWith("0X", at)) {
      return hexadecimal(text, at + 2);
    }
    return decimal(text, at);
  }

  private static boolean isControlBlank(char c) {
    return c >= '\t' && c <= '\r';
  }

  private static Size hexadecimal(String text, int from) {
    int end = from;
    // The letters b and e are digits here, not units.
    while (end < text.length() && Character.digit(text.charAt(end), 16) >= 0) {
      end++;
    }
    Long digits = digits(text, from, end, 16);
    int unit = unit(text, end);
    if (end == from || unit < 0) {
      return INVALID;
    }
    Size size = scaled(digits, 0, unit);
    return size.kind == Kind.OK && end < text.length()
        ? new Size(Kind.OK_HEX_WITH_UNIT, size.bytes)
        : size;
  }

  private static Size decimal(String text, int from) {
    int end = digitsEnd(text, from);
    if (end == from) {
      return INVALID;
    }
    Long whole = digits(text, from, end, 10);
    double fraction = 0;
    if (end < text.length() && text.charAt(end) == '.') {
      int point = end;
      end = digitsEnd(text, point + 1);
      if (end > point + 1) {
        fraction = Double.parseDouble("0" + text.substring(point, end));
      }
    }
    int unit = unit(text, end);
    if (unit < 0 || (unit == 0 && fraction > 0)) {
      return INVALID;
    }
    return scaled(whole, fraction, unit);
  }

  private static int digitsEnd(String text, int from) {
    int end = from;
    while (end < text.length() && text.charAt(end) >= '0' && text.charAt(end) <= '9') {
      end++;
    }
    return end;
  }

  /** The unsigned number, or null if it needs more than 64 bits. */
  private static @Nullable Long digits(String text, int from, int end, int radix) {
    long number = 0;
    for (int i = from; i < end; i++) {
      int digit = Character.digit(text.charAt(i), radix);
      if (Long.compareUnsigned(number, Long.divideUnsigned(-1 - digit, radix)) > 0) {
        return null;
      }
      number = number * radix + digit;
    }
    return number;
  }

  /** The power of 1024, or -1 if the text does not end with at most one unit here. */
  private static int unit(String text, int at) {
    if (at == text.length()) {
      return 0;
    }
    return at + 1 == text.length() ? UNITS.indexOf(Character.toLowerCase(text.charAt(at))) : -1;
  }

  private static Size scaled(@Nullable Long whole, double fraction, int unit) {
    if (whole == null) {
      return OUT_OF_RANGE;
    }
    long factor = 1L << 10 * unit;
    long rest = (long) (fraction * factor + 0.5);
    if (Long.compareUnsigned(whole, Long.divideUnsigned(-1 - rest, factor)) > 0) {
      return OUT_OF_RANGE;
    }
    return new Size(Kind.OK, whole * factor + rest);
  }

  boolean ok() {
    return kind == Kind.OK || kind == Kind.OK_HEX_WITH_UNIT;
  }

  /**
   * The size, which must lie between {@code min} and {@code max}.
   *
   * @param noun what it is the size of, for the message
   */
  static long require(Terminal terminal, String noun, String text, long min, long max)
      throws Failure {
    Size size = parse(text);
    if (size.kind == Kind.INVALID) {
      throw new Failure(
          "Invalid "
              + noun
              + " specified. You may use k, M, G, T, P or E suffixes for\n"
              + terminal.program()
              + ": kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
    }
    if (size.kind == Kind.OUT_OF_RANGE || size.bytes < min || size.bytes > max) {
      throw new Failure(
          "Invalid " + noun + " specified. Must be between " + min + " and " + max + ".");
    }
    warnOfHex(terminal, size, text);
    return size.bytes;
  }

  /**
   * The unsigned size that a named parameter has.
   *
   * @throws Failure in the words of QEMU's option parser
   */
  static long requireParameter(Terminal terminal, String name, String text) throws Failure {
    Size size = parameter(name, text);
    warnOfHex(terminal, size, text);
    return size.bytes;
  }

  /**
   * As {@link #requireParameter}, without a warning.
   *
   * @throws Failure in the words of QEMU's option parser
   */
  static Size parameter(String name, String text) throws Failure {
    Size size = parse(text);
    return switch (size.kind) {
      case INVALID ->
          throw new Failure(
              "Parameter '"
                  + name
                  + "' expects a non-negative number below 2^64\n"
                  + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                  + "and exabytes, respectively.");
      case OUT_OF_RANGE ->
          throw new Failure("Value '" + text + "' is out of range for parameter '" + name + "'");
      case OK, OK_HEX_WITH_UNIT -> size;
    };
  }

  /** Warns where QEMU does. */
  static void warnOfHex(Terminal terminal, Size size, String text) {
    if (size.kind == Kind.OK_HEX_WITH_UNIT) {
      terminal.warning("Using a multiplier suffix on hex numbers is deprecated: " + text);
    }
  }
}
