package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Tool;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Gives the same command lines to qemu-io 7.2 and to ours: output but for times, messages and exit
 * code must be the same, and so must the images be afterwards.
 */
class IoContractTest {
  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  static Stream<String> lines() {
    return Stream.of("io", "drivers").flatMap(CommandLines::of);
  }

  @ParameterizedTest(name = "{0}", allowZeroInvocations = true)
  @MethodSource("lines")
  void bothSayAndDoTheSame(String line) throws Exception {
    String program = line.startsWith("!") ? "qemu-img" : "qemu-io";
    String[] words = CommandLines.words(line.startsWith("!") ? line.substring(1) : line, Lab.WORK);
    Lab.fill();
    Answer qemu = Answer.ofProgram(program, words);
    Lab.delete(Lab.QEMU);
    Files.move(Lab.WORK, Lab.QEMU);
    Lab.fill();
    Answer ours = Answer.ofProgramOfOurs(program, "", words);

    assertThat(ours.withoutTimes()).isEqualTo(qemu.withoutTimes());
    List<String> names = Images.names(Lab.QEMU);
    assertThat(Images.names(Lab.WORK)).isEqualTo(names);
    for (String name : names) {
      Images.assertSame(Path.of(name));
    }
  }

  /** Prompts are printed to whoever reads them, and a line that fails ends nothing. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "length\nread 0 5\n\nfoo\nlength",
        "read 0 5M\nlength\n",
        "length\nquit\nlength\n",
        "q",
        "",
        "close\nopen\nlength\nread 0 512\n",
      })
  void commandsComeFromStandardInput(String in) throws Exception {
    List<Answer> both = answersOfBoth(in);

    assertThat(both.getFirst()).isEqualTo(both.getLast());
  }

  /** A read that nobody waits for is told when it is done: before the next prompt, or behind it. */
  @Test
  void whatIsDoneInTheBackgroundIsToldAroundAPrompt() throws Exception {
    List<Answer> both =
        answersOfBoth("write -P 9 0 64k\naio_read -P 9 0 64k\naio_flush\nclose\nlength\n");

    String prompt = "qemu-io> ";
    Answer ours = both.getFirst();
    Answer theirs = both.getLast();
    assertThat(ours.out().split(prompt, -1)).hasSameSizeAs(theirs.out().split(prompt, -1));
    assertThat(ours.out().replace(prompt, "")).isEqualTo(theirs.out().replace(prompt, ""));
    assertThat(ours.err()).isEqualTo(theirs.err());
    assertThat(ours.exit()).isEqualTo(theirs.exit());
  }

  /** Ours first; without times. */
  private static List<Answer> answersOfBoth(String in) throws Exception {
    Lab.fill();
    Path script = Files.writeString(Lab.WORK.resolve("script"), in);
    Path image = Lab.WORK.resolve("empty.q");
    Tool.Outcome qemu = Tool.run("sh", "-c", "exec qemu-io -f qcow2 " + image + " <" + script);
    Lab.fill();
    Answer ours = Answer.ofProgramOfOurs("qemu-io", in, "-f", "qcow2", image.toString());

    return List.of(
        ours.withoutTimes(), new Answer(qemu.status(), qemu.out(), qemu.err()).withoutTimes());
  }

  @Test
  void theProgramsNameStandsInThePromptAndInMessages() throws Exception {
    Lab.fill();
    Answer ours =
        Answer.ofProgramOfOurs(
            "imago", "truncate 5\n", "io", Lab.WORK.resolve("empty.q").toString());

    assertThat(ours)
        .isEqualTo(
            new Answer(1, "imago> imago> ", "imago: The new size must be a multiple of 512\n"));
  }
}
