package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.imago.Images;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

class HelpTest {
  private static String out(String program, String... args) {
    var out = new ByteArrayOutputStream();
    var err = new ByteArrayOutputStream();
    int code =
        Main.run(
            program,
            args,
            new PrintStream(out, true, StandardCharsets.UTF_8),
            new PrintStream(err, true, StandardCharsets.UTF_8));
    assertEquals("", err.toString(StandardCharsets.UTF_8));
    assertEquals(0, code);
    return out.toString(StandardCharsets.UTF_8);
  }

  /** CloudStack looks for both lines before it uses a qemu-img. */
  @Test
  void whatProgramsLookForIsThere() {
    String help = out("imago", "--help");
    String formats = Images.formats().stream().sorted().collect(Collectors.joining(" "));

    assertTrue(help.endsWith("\nSupported formats: " + formats + "\n"));
    assertTrue(help.contains("--target-is-zero"));
  }

  @Test
  void theDefaultCacheModeOfConvertIsSaid() {
    assertTrue(out("imago", "--help").contains("'unsafe' (default for convert"));
    assertTrue(out("imago", "convert", "--help").contains("(default: unsafe"));
  }

  @ParameterizedTest
  @FieldSource("dev.imago.cli.Help#COMMANDS")
  void everyCommandHasAHelpOfItsOwn(String command) {
    String help = out("imago", command, "--help");

    assertTrue(help.startsWith("Usage:\n  imago " + command + " ["), help);
    assertTrue(help.contains("\nArguments:\n  -h, --help\n"), help);
    assertEquals(help, out("imago", command, "x", "-h"));
  }

  @Test
  void theVersionIsTwoLines() {
    assertTrue(out("imago", "--version").matches("imago version \\S+\nCopyright .*\n"));
    assertTrue(
        out("qemu-img", "-V").matches("qemu-img version 7.2.0 \\(imago \\S+\\)\nCopyright .*\n"));
  }

  @Test
  void theVersionIsTheBuilds() throws Exception {
    String pom = Files.readString(Path.of(System.getProperty("imago.root"), "pom.xml"));

    assertTrue(pom.contains("<version>" + Main.VERSION + "</version>"));
  }
}
