package dev.imago.bench;

import java.util.Locale;

/**
 * What a row has to show: ratios of the peer's time ÷ ours.
 *
 * @param wall the least that will do; 0 if any will
 * @param cpu the same of processor time
 */
record Goal(double wall, double cpu) {
  static final Goal NONE = new Goal(0, 0);

  static Goal wall(double ratio) {
    return new Goal(ratio, 0);
  }

  /** A cell of a table: what was wanted, and whether it was missed, by the two digits shown. */
  String cell(double wallRatio, double cpuRatio) {
    if (wall == 0) {
      return "";
    }
    String wanted = String.format(Locale.ROOT, "%.1f", wall);
    if (cpu > 0) {
      wanted += String.format(Locale.ROOT, ", CPU %.1f", cpu);
    }
    boolean missed = rounded(wallRatio) < wall || rounded(cpuRatio) < cpu;
    return missed ? "**" + wanted + " missed**" : wanted;
  }

  private static double rounded(double ratio) {
    return Math.round(100 * ratio) / 100.0;
  }
}
