package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Where our command line differs from qemu-img 7.2 on purpose; docs/cli-differences.md is its
 * readable form. A line that does not differ any more belongs into {@link ContractTest}.
 */
class DifferencesTest {
  /** One line of the table. */
  record Difference(String line, int exit, String says, String why) {
    static Difference of(String row) {
      String[] cells = row.split(" *\\| *", -1);
      return new Difference(cells[0], Integer.parseInt(cells[1]), cells[2], cells[3]);
    }

    @Override
    public String toString() {
      return line + ": " + why;
    }
  }

  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  static Stream<Difference> differences() {
    return CommandLines.of("differences").map(Difference::of);
  }

  @ParameterizedTest(name = "{0}", allowZeroInvocations = true)
  @MethodSource("differences")
  void weDifferWhereWeSayAndAsWeSay(Difference difference) throws Exception {
    String line = difference.line();
    boolean io = line.startsWith("qemu-io ");
    String program = io ? "qemu-io" : "qemu-img";
    String[] words = CommandLines.words(io ? line.substring(program.length()) : line, Lab.WORK);
    Lab.fill();
    Answer qemu = Answer.ofProgram(program, words);
    Lab.fill();
    Answer ours = Answer.ofProgramOfOurs(program, "", words);

    assertThat(ours.withoutTimes()).isNotEqualTo(qemu.withoutTimes());
    assertThat(ours.exit()).as(ours.err()).isEqualTo(difference.exit());
    assertThat(ours.out() + ours.err()).contains(difference.says());
    assertThat(ours.err()).doesNotContain("internal error");
  }

  /** qemu-img has emptied it by then, and removes what is left. */
  @Test
  void anExistingFileSurvivesACreationThatIsRefused() throws Exception {
    Lab.fill();
    String file = Lab.WORK.resolve("base.q").toString();

    Answer ours = Answer.ofOurs("create", "-f", "qcow2", "-o", "cluster_size=1000", file, "1M");

    assertThat(ours.exit()).isEqualTo(1);
    assertThat(Files.mismatch(Lab.WORK.resolve("base.q"), Lab.FIXTURES.resolve("base.q")))
        .isEqualTo(-1);
  }
}
