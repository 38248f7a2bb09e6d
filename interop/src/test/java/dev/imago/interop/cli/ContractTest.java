package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Gives the same command lines to qemu-img 7.2 and to ours: output, messages and exit code must be
 * the same byte for byte (but for how often progress is shown), and files that were made or changed
 * must hold the same images. What is different on purpose stands in {@link DifferencesTest} and
 * docs/cli-differences.md.
 *
 * <p>{@code -Dimago.contract=resize} gives them the lines of one table alone.
 */
class ContractTest {
  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  static Stream<String> looking() {
    return lines("general", "info", "map", "check", "compare", "measure");
  }

  static Stream<String> changing() {
    return lines(
        "bench",
        "create",
        "convert",
        "repair",
        "resize",
        "snapshot",
        "bitmap",
        "rebase",
        "commit",
        "amend");
  }

  private static Stream<String> lines(String... tables) {
    return Stream.of(tables).flatMap(CommandLines::of);
  }

  @ParameterizedTest(name = "{0}", allowZeroInvocations = true)
  @MethodSource("looking")
  void bothSayTheSame(String line) throws Exception {
    String[] words = CommandLines.words(line, Lab.FIXTURES);

    assertThat(Answer.ofOurs(words).withoutSteps()).isEqualTo(Answer.ofQemu(words).withoutSteps());
  }

  /** One file as both have left it. */
  private interface Judge {
    void same(Path name) throws Exception;
  }

  @ParameterizedTest(name = "{0}", allowZeroInvocations = true)
  @MethodSource("changing")
  void bothSayAndDoTheSame(String line) throws Exception {
    run(line, Images::assertSame);
  }

  static Stream<String> layers() {
    return lines("layers");
  }

  /** What a rebase or a commit copies, and whether as zeroes, is each program's own business. */
  @ParameterizedTest(name = "{0}", allowZeroInvocations = true)
  @MethodSource("layers")
  void bothSayTheSameAndGuestsSeeTheSame(String line) throws Exception {
    run(line, Images::assertSameBytes);
  }

  private static void run(String line, Judge judge) throws Exception {
    String[] words = CommandLines.words(line, Lab.WORK);
    Lab.fill();
    Answer qemu = Answer.ofQemu(words);
    Lab.delete(Lab.QEMU);
    Files.move(Lab.WORK, Lab.QEMU);
    Lab.fill();
    Answer ours = Answer.ofOurs(words);

    assertThat(ours.withoutSteps()).isEqualTo(qemu.withoutSteps());
    List<String> names = Images.names(Lab.QEMU);
    // Where qemu-img fails it may leave a broken file behind, or have emptied an old one.
    if (qemu.exit() == 0) {
      assertThat(Images.names(Lab.WORK)).isEqualTo(names);
      for (String name : names) {
        judge.same(Path.of(name));
      }
    }
  }
}
