package dev.imago.cli;

/** Sizes for people, in QEMU's way: {@code 1.5 KiB}, {@code 931 GiB}. */
final class HumanSize {
  private static final String[] UNITS = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};

  private HumanSize() {}

  /**
   * Three significant digits and a unit, chosen so that the number stays below 1000. Numbers that
   * would round up to 1000 are printed as C does: {@code 1e+03 KiB}.
   *
   * @param bytes not negative
   */
  static void append(StringBuilder out, long bytes) {
    int exponent = bytes == 0 ? 0 : Math.getExponent(bytes / (1000.0 / 1024.0)) + 1;
    int unit = Math.max(exponent - 1, 0) / 10;
    double value = (double) bytes / (1L << unit * 10);
    int decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 || value == 0 ? 2 : 3;
    long scale = decimals == 0 ? 1 : decimals == 1 ? 10 : decimals == 2 ? 100 : 1000;
    long digits = (long) Math.rint(value * scale);
    if (digits >= 1000 * scale) {
      out.append("1e+03");
    } else {
      out.append(digits / scale);
      fraction(out, digits % scale, scale / 10);
    }
    out.append(' ').append(UNITS[unit]).append('B');
  }

  /** The digits behind the point, without zeroes at the end. */
  private static void fraction(StringBuilder out, long rest, long place) {
    if (rest > 0) {
      out.append('.');
      while (rest > 0) {
        out.append(rest / place);
        rest %= place;
        place /= 10;
      }
    }
  }
}
