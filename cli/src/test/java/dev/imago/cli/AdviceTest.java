package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.imago.storage.StorageLockedException;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What imago says beyond qemu-img: what was meant, and what to do next. */
class AdviceTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  private int run(String program, String... args) {
    return Main.run(
        program,
        args,
        new PrintStream(out, true, StandardCharsets.UTF_8),
        new PrintStream(err, true, StandardCharsets.UTF_8));
  }

  private String err() {
    return err.toString(StandardCharsets.UTF_8);
  }

  private String out() {
    return out.toString(StandardCharsets.UTF_8);
  }

  @Test
  void aMisspeltCommandIsGuessed() {
    assertEquals(1, run("imago", "conver"));

    assertEquals(
        """
        imago: Command not found: conver
        hint: did you mean 'convert'?
        Try 'imago --help' for more information
        """,
        err());
  }

  @Test
  void aMisspeltOptionIsGuessed() {
    assertEquals(1, run("imago", "info", "--ouptut=json", "x"));

    assertEquals(
        """
        imago: unrecognized option '--ouptut=json'
        hint: did you mean '--output'?
        Try 'imago --help' for more information
        """,
        err());
  }

  @Test
  void nothingIsGuessedWhereNothingIsNear() {
    run("imago", "frobnicate");

    assertFalse(err().contains("hint"), err());
  }

  @Test
  void calledByQemusNameWeSayWhatQemuSays() {
    run("qemu-img", "conver");
    run("qemu-img", "info", "--ouptut=json", "x");
    run("qemu-img", "help");

    assertEquals(
        """
        qemu-img: Command not found: conver
        Try 'qemu-img --help' for more information
        qemu-img: unrecognized option '--ouptut=json'
        Try 'qemu-img --help' for more information
        qemu-img: Command not found: help
        Try 'qemu-img --help' for more information
        """,
        err());
  }

  @Test
  void whatToDoNextDependsOnWhatFailed() {
    assertEquals(
        "add -F and the backing file's format, such as -F qcow2",
        Advice.on(new Failure("x: Backing file specified without backing format")));
    assertEquals(
        "did you mean 'qcow2'?",
        Advice.on(new Failure("Could not open 'x': Unknown driver 'qcow3'")));
    assertEquals(
        "known formats: raw, qcow2", Advice.on(new Failure("Unknown file format 'zzzzzzz'")));
    assertTrue(
        Advice.on(new Failure("no", 1, new StorageLockedException("x", "\"write\"")))
            .startsWith("stop the guest first"));
    assertEquals("", Advice.on(new Failure("no\nhint: has one")));
    assertEquals("", Advice.on(new Failure("no")));
  }

  @Test
  void distancesCountExchangedLettersOnce() {
    assertEquals(1, Nearest.distance("chekc", "check"));
    assertEquals(3, Nearest.distance("kitten", "sitting"));
    assertEquals("check", Nearest.of("chekc", Help.COMMANDS));
    assertEquals("snapshot", Nearest.of("snap", Help.COMMANDS));
    assertEquals("", Nearest.of("x", Help.COMMANDS));
  }

  @ParameterizedTest
  @FieldSource("dev.imago.cli.Help#TOPICS")
  void everyTopicIsExplained(String topic) {
    assertEquals(0, run("imago", "help", topic));
    assertTrue(out().lines().count() > 2, out());
  }

  @Test
  void helpForACommandIsItsHelp() {
    run("imago", "help", "convert");
    String help = out();
    out.reset();
    run("imago", "convert", "--help");

    assertEquals(out(), help);
  }

  static Stream<HelpText> texts() {
    return Help.texts().stream();
  }

  @ParameterizedTest
  @MethodSource("texts")
  void completionsAndManualPagesHaveEveryOptionOfTheHelp(HelpText text) throws Exception {
    String bash = Completion.of("bash");
    String zsh = Completion.of("zsh");
    String fish = Completion.of("fish");
    String manual = ManualPage.of(text);

    assertFalse(text.options().isEmpty());
    for (HelpText.Described option : text.options()) {
      assertFalse(option.description().isEmpty(), option.head());
      assertTrue(manual.contains(".B " + option.head().replace("-", "\\-") + "\n"), manual);
      for (HelpText.Name name : option.names()) {
        String word = name.name();
        assertTrue(bash.contains(" " + word), word);
        assertTrue(zsh.contains("'" + word), word);
        String bare = word.substring(name.isLong() ? 2 : 1);
        assertTrue(
            fish.contains(
                "from %s' %s %s".formatted(text.command(), name.isLong() ? "-l" : "-s", bare)),
            word);
      }
    }
  }

  @Test
  void aShortFormHasTheValueOfTheLongOneOnlyIfItStandsApart() {
    HelpText text =
        HelpText.parse(
            "x",
            "x [-f fmt] file\\nDo.\\n  -f, --format FMT  one\\n  -p, --progress=human|json\\n"
                    .translateEscapes()
                + "                             two\n  -B FILE, -F FMT            three\nNote.\n");

    assertEquals(
        List.of(
            List.of(new HelpText.Name("-f", "FMT"), new HelpText.Name("--format", "FMT")),
            List.of(new HelpText.Name("-p", ""), new HelpText.Name("--progress", "human|json")),
            List.of(new HelpText.Name("-B", "FILE"), new HelpText.Name("-F", "FMT"))),
        text.options().stream().map(HelpText.Described::names).toList());
    assertEquals("Note.\n", text.notes());
  }

  @Test
  void aShellWeDoNotKnowIsRefused() {
    assertEquals(1, run("imago", "completion", "tcsh"));
    assertTrue(err().contains("bash, zsh and fish"), err());
  }
}
