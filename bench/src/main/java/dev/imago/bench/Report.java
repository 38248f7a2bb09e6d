package dev.imago.bench;

import java.util.List;
import java.util.Locale;

/** Turns samples into a Markdown table. */
final class Report {
  private Report() {}

  /**
   * One case.
   *
   * @param shortRun whether the start of the JVM is most of it, so that a ratio without it is given
   */
  record Line(
      String name, boolean shortRun, Samples qemu, Samples imago, Samples empty, String note) {}

  static String table(List<Line> lines) {
    var out = new StringBuilder();
    out.append(
        """
        | | qemu-img, ms | imago, ms | empty JVM, ms | wall ratio | of minima | less empty JVM | \
        user ratio | user + system ratio | qemu-img, MiB | imago, MiB |
        |---|---|---|---|---|---|---|---|---|---|---|
        """);
    for (Line line : lines) {
      out.append("| ").append(line.name);
      if (!line.note.isEmpty()) {
        out.append(" **(").append(line.note).append(")**");
      }
      out.append(" | ");
      if (line.note.equals("failed")) {
        out.append("| | | | | | | | | |\n");
        continue;
      }
      Samples qemu = line.qemu;
      Samples imago = line.imago;
      double started = line.empty.medianWall();
      out.append(pair(qemu)).append(" | ").append(pair(imago)).append(" | ");
      out.append(pair(line.empty)).append(" | ");
      out.append(ratio(imago.medianWall(), qemu.medianWall())).append(" | ");
      out.append(ratio(imago.leastWall(), qemu.leastWall())).append(" | ");
      out.append(line.shortRun ? ratio(imago.medianWall() - started, qemu.medianWall()) : "");
      out.append(" | ");
      out.append(ratio(imago.medianUser(), qemu.medianUser())).append(" | ");
      out.append(ratio(imago.medianCpu(), qemu.medianCpu())).append(" | ");
      out.append(digits(qemu.peakMib())).append(" | ");
      out.append(digits(imago.peakMib())).append(" |\n");
    }
    return out.toString();
  }

  private static String pair(Samples samples) {
    return "%s (%s)".formatted(digits(samples.medianWall()), digits(samples.leastWall()));
  }

  /** Three digits, more if they stand before the point. */
  static String digits(double value) {
    String form = value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f";
    return String.format(Locale.ROOT, form, value);
  }

  static String ratio(double a, double b) {
    return String.format(Locale.ROOT, "%.2f", a / b);
  }
}
