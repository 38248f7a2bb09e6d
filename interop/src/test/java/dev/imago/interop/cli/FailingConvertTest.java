package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Tool;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A conversion that cannot be finished: a limit on file sizes stands for the full disk. */
class FailingConvertTest {
  private static final int LIMIT_KIB = 512;

  @TempDir Path folder;

  @BeforeEach
  void fillSource() throws Exception {
    byte[] bytes = new byte[2 << 20];
    new Random(7).nextBytes(bytes);
    Files.write(folder.resolve("source.raw"), bytes);
  }

  @Test
  void exitsWithOneSaysWhereAndLeavesNothingBehind() throws Exception {
    Tool.Outcome outcome = convert("qcow2", folder.resolve("target"));

    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.out()).isEmpty();
    assertThat(outcome.err()).matches("imago: error while writing at byte \\d+: File too large\n");
    assertThat(folder.resolve("target")).doesNotExist();
  }

  /** A raw image gets its whole size at the beginning. */
  @Test
  void aRawTargetIsRefusedBeforeAnythingIsCopied() throws Exception {
    Tool.Outcome outcome = convert("raw", folder.resolve("target"));

    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err())
        .isEqualTo(
            "imago: %s: error while converting raw: %s\n"
                .formatted(
                    folder.resolve("target"), "The image size is too large for file format 'raw'"));
    assertThat(folder.resolve("target")).doesNotExist();
  }

  private Tool.Outcome convert(String format, Path target) throws Exception {
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    return Tool.run(
        "sh",
        "-c",
        // ulimit -f counts in units of 512 bytes in a POSIX shell.
        "ulimit -f " + 2 * LIMIT_KIB + " && exec \"$@\"",
        "sh",
        java,
        "-XX:-UsePerfData",
        "-XX:+UseSerialGC",
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        System.getProperty("java.class.path"),
        "dev.imago.cli.Main",
        "convert",
        "-f",
        "raw",
        "-O",
        format,
        folder.resolve("source.raw"),
        target);
  }
}
