package dev.imago.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

/** Ratios are the peer's time ÷ ours, and a goal that was missed is told so. */
class ReportTest {
  @Test
  void aProgramThatTakesHalfTheTimeHasRatioTwo() {
    Report.Line line = line(new Goal(1.5, 1.2), 200, 100);

    assertThat(Report.row(line))
        .isEqualTo(
            "| work | 200 (200–200) | -W | 100 (100–100) | 2.00 | 2.00 | 1.5, CPU 1.2 |  |  |"
                + " 0.00 | 0.00 |\n");
    assertThat(line.bar().ratio()).isEqualTo(2);
  }

  @Test
  void aMissedGoalIsMarkedByWhatIsShown() {
    assertThat(Report.row(line(new Goal(1.5, 1.2), 100, 200)))
        .contains("| 0.50 | 0.50 | **1.5, CPU 1.2 missed** |");
    assertThat(Goal.wall(1).cell(0.994, 5)).isEqualTo("**1.0 missed**");
    assertThat(Goal.wall(1).cell(0.996, 0)).isEqualTo("1.0");
    assertThat(new Goal(1, 1.2).cell(1, 1.1)).isEqualTo("**1.0, CPU 1.2 missed**");
    assertThat(Goal.NONE.cell(0.1, 0.1)).isEmpty();
  }

  @Test
  void aServerThatTakesHalfTheTimeHasRatioTwo() {
    var line = new NbdReport.Line("work", Goal.wall(2.5), ran(20), "threads", ran(10));

    assertThat(NbdReport.row(line))
        .isEqualTo(
            "| work | 50000 (50000–50000) | threads | 100000 (100000–100000) | 2.00 | 2.00 |"
                + " **2.5 missed** | 20.0 | 10.0 |\n");
    assertThat(line.bar().ratio()).isEqualTo(2);
  }

  @Test
  void rowsAreAsWideAsTheirHeadings() {
    assertThat(cells(Report.row(line(Goal.NONE, 1, 1)))).isEqualTo(cells(Report.HEADING));
    assertThat(cells(Report.failed("work"))).isEqualTo(cells(Report.HEADING));
    assertThat(cells(NbdReport.failed("work"))).isEqualTo(cells(NbdReport.HEADING));
  }

  private static long cells(String table) {
    return table.lines().findFirst().orElseThrow().chars().filter(c -> c == '|').count();
  }

  private static Report.Line line(Goal goal, long theirMillis, long ourMillis) {
    var which = new Case("work", false, goal, List.of(), Made.NOTHING, List::of);
    return new Report.Line(which, "-W", ran(theirMillis), ran(ourMillis), new Samples(), "");
  }

  private static Samples ran(long millis) {
    var samples = new Samples();
    samples.add(new Child.Cost(0, millis * 1_000_000, millis * 400_000, millis * 600_000));
    return samples;
  }
}
