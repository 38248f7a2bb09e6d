package dev.imago.bench;

import java.util.List;
import java.util.Locale;

/** Turns samples into the rows of a Markdown table. Ratios are the peer's time ÷ ours. */
final class Report {
  static final String HEADING =
      """
      | | qemu-img, ms | its options | imago, ms | wall, qemu-img ÷ imago | CPU, qemu-img ÷ imago | \
      at least | empty JVM, ms | wall without it | qemu-img, MiB | imago, MiB |
      |---|---|---|---|---|---|---|---|---|---|---|
      """;

  private Report() {}

  /**
   * One case.
   *
   * @param options what the fastest qemu-img was given besides
   * @param empty of the empty JVM, if it is a short run: a ratio without its time is given, too
   * @param note of the results, in Markdown; empty if they were the same
   */
  record Line(Case which, String options, Samples qemu, Samples imago, Samples empty, String note) {

    double wallRatio() {
      return qemu.medianWall() / imago.medianWall();
    }

    double cpuRatio() {
      return qemu.medianCpu() / imago.medianCpu();
    }

    Chart.Bar bar() {
      return new Chart.Bar(which.name(), wallRatio(), which.goal());
    }
  }

  static String row(Line line) {
    Case which = line.which;
    String note = line.note.isEmpty() ? "" : " (" + line.note + ")";
    double ourOwn = line.imago.medianWall() - line.empty.medianWall();
    return row(
        which.name() + note,
        spread(line.qemu),
        line.options,
        spread(line.imago),
        ratio(line.wallRatio()),
        ratio(line.cpuRatio()),
        which.goal().cell(line.wallRatio(), line.cpuRatio()),
        which.shortRun() ? spread(line.empty) : "",
        // None if we were ready before the empty program, as may be of the shortest runs.
        which.shortRun() && ourOwn > 0 ? ratio(line.qemu.medianWall() / ourOwn) : "",
        digits(line.qemu.peakMib()),
        digits(line.imago.peakMib()));
  }

  static String failed(String name) {
    return row(name + " **(failed)**", "", "", "", "", "", "", "", "", "", "");
  }

  static String row(String... cells) {
    return "| " + String.join(" | ", List.of(cells)) + " |\n";
  }

  /** Median, and from the minimum to the maximum. */
  static String spread(Samples samples) {
    return spread(samples.medianWall(), samples.leastWall(), samples.mostWall());
  }

  static String spread(double median, double least, double most) {
    return "%s (%s–%s)".formatted(digits(median), digits(least), digits(most));
  }

  /** Three digits, more if they stand before the point. */
  static String digits(double value) {
    String form = value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f";
    return String.format(Locale.ROOT, form, value);
  }

  static String ratio(double value) {
    return String.format(Locale.ROOT, "%.2f", value);
  }
}
