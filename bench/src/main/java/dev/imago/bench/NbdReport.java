package dev.imago.bench;

/** Turns what NBD servers have cost into the rows of a Markdown table. */
final class NbdReport {
  private NbdReport() {}

  static final String HEADING =
      """
      | NBD | qemu-nbd, per s | its aio | imago, per s | wall, qemu-nbd ÷ imago | \
      CPU, qemu-nbd ÷ imago | at least | qemu-nbd, µs CPU | imago, µs CPU |
      |---|---|---|---|---|---|---|---|---|
      """;

  /**
   * One case.
   *
   * @param qemu of 1000 requests, or MiB, of the faster of its servers
   * @param how that server's {@code --aio}
   * @param imago of as many
   */
  record Line(String name, Goal goal, Samples qemu, String how, Samples imago) {
    double wallRatio() {
      return qemu.medianWall() / imago.medianWall();
    }

    double cpuRatio() {
      return qemu.medianCpu() / imago.medianCpu();
    }

    Chart.Bar bar() {
      return new Chart.Bar("NBD: " + name, wallRatio(), goal);
    }
  }

  static String row(Line line) {
    return Report.row(
        line.name,
        perSecond(line.qemu),
        line.how,
        perSecond(line.imago),
        Report.ratio(line.wallRatio()),
        Report.ratio(line.cpuRatio()),
        line.goal.cell(line.wallRatio(), line.cpuRatio()),
        Report.digits(line.qemu.medianCpu()),
        Report.digits(line.imago.medianCpu()));
  }

  static String failed(String name) {
    return Report.row(name + " **(failed)**", "", "", "", "", "", "", "", "");
  }

  /** The most time for a request is the least of them in a second. */
  private static String perSecond(Samples samples) {
    return Report.spread(
        1e6 / samples.medianWall(), 1e6 / samples.mostWall(), 1e6 / samples.leastWall());
  }
}
