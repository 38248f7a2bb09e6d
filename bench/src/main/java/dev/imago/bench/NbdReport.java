package dev.imago.bench;

import java.util.List;

/** Turns what NBD servers have cost into the rows of a Markdown table. */
final class NbdReport {
  private NbdReport() {}

  /**
   * One case.
   *
   * @param qemu of 1000 requests, or MiB, of the faster of its servers
   * @param how that server's {@code --aio}
   * @param imago of as many
   */
  record Line(String name, Samples qemu, String how, Samples imago) {}

  static final String HEADING =
      """
      | NBD | qemu-nbd, per s | its aio | imago, per s | wall ratio | of minima | \
      user ratio | user + system ratio | qemu-nbd, µs CPU | imago, µs CPU |
      |---|---|---|---|---|---|---|---|---|---|
      """;

  static String row(Line line) {
    Samples qemu = line.qemu;
    Samples imago = line.imago;
    List<String> cells =
        List.of(
            line.name,
            Report.digits(1e6 / qemu.medianWall()),
            line.how,
            Report.digits(1e6 / imago.medianWall()),
            Report.ratio(imago.medianWall(), qemu.medianWall()),
            Report.ratio(imago.leastWall(), qemu.leastWall()),
            Report.ratio(imago.medianUser(), qemu.medianUser()),
            Report.ratio(imago.medianCpu(), qemu.medianCpu()),
            Report.digits(qemu.medianCpu()),
            Report.digits(imago.medianCpu()));
    return "| " + String.join(" | ", cells) + " |\n";
  }
}
