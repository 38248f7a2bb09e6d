package dev.imago.interop;

import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Tool;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a command that takes its time does about signals, and at a terminal. */
class LongCommandTest {
  private static final Path IMAGO =
      Path.of(System.getProperty("imago.root")).toAbsolutePath().normalize().resolve("imago");

  @TempDir Path folder;

  @BeforeAll
  static void buildOnce() throws Exception {
    Tool.run(IMAGO, "--version").ok();
  }

  @BeforeEach
  void fillSource() throws IOException {
    byte[] bytes = new byte[48 << 20];
    new Random(7).nextBytes(bytes);
    Files.write(folder.resolve("source.raw"), bytes);
  }

  /** Minutes of work: incompressible data, the highest level, one thread. */
  private List<String> slowConvert(Path target) {
    return List.of(
        IMAGO.toString(),
        "convert",
        "--progress=json",
        "-c",
        "--compression-level=22",
        "-m",
        "1",
        "-O",
        "qcow2",
        "-o",
        "compression_type=zstd",
        folder.resolve("source.raw").toString(),
        target.toString());
  }

  /**
   * With signals as at a terminal: what runs the tests in the background may have SIGINT ignored.
   */
  private static Process start(List<String> command) throws IOException {
    List<String> words = new ArrayList<>(List.of("env", "--default-signal=INT,TERM,HUP"));
    words.addAll(command);
    return new ProcessBuilder(words).start();
  }

  private static void send(String signal, Process process) throws Exception {
    Tool.run("kill", "-" + signal, Long.toString(process.pid())).ok();
  }

  /** Returns when the target is there and nothing is in it yet. */
  private static void awaitBeginning(BufferedReader out) throws IOException {
    assertThat(out.readLine()).startsWith("{\"command\":\"convert\",\"done\":0,");
  }

  @ParameterizedTest
  @ValueSource(strings = {"INT", "TERM", "HUP"})
  void aSignalEndsAConversionAndRemovesItsTarget(String signal) throws Exception {
    Path target = folder.resolve("target");
    Process process = start(slowConvert(target));
    try (BufferedReader out = process.inputReader();
        BufferedReader err = process.errorReader()) {
      awaitBeginning(out);
      assertThat(target).exists();
      send(signal, process);

      assertThat(process.waitFor()).isEqualTo(130);
      assertThat(err.readAllAsString()).isEqualTo("imago: interrupted\n");
      assertThat(target).doesNotExist();
    } finally {
      process.destroyForcibly();
    }
  }

  /**
   * The last words waited for the pipe, the pipe for its reader, and the process was there to stay.
   */
  @Test
  void aSignalEndsACommandWhoseOutputNobodyReads() throws Exception {
    Path image = folder.resolve("leaks.qcow2");
    Tool.run(
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "cluster_size=512,preallocation=metadata",
            image,
            "8M")
        .ok();
    try (FileChannel file = FileChannel.open(image, READ, WRITE)) {
      ByteBuffer l1 = ByteBuffer.allocate(12);
      file.read(l1, 36);
      file.write(ByteBuffer.allocate(l1.getInt(0) * 8), l1.getLong(4));
    }
    Process process = start(List.of(IMAGO.toString(), "check", image.toString()));
    try {
      int pipe = 64 << 10;
      while (process.isAlive()
          && process.getErrorStream().available() < pipe - 4096
          && process.getInputStream().available() < pipe - 4096) {
        Thread.onSpinWait();
      }
      assertThat(process.isAlive()).as("it waits for a reader").isTrue();
      send("TERM", process);

      assertThat(process.waitFor()).isEqualTo(130);
    } finally {
      process.destroyForcibly();
    }
  }

  /** Its name may be a link that is to stay; its old bytes are gone in any case. */
  @Test
  void aTargetThatWasThereBeforeIsLeftEmptyOrMarked() throws Exception {
    Path target = Files.writeString(folder.resolve("target"), "old");
    Process process = start(slowConvert(target));
    try (BufferedReader out = process.inputReader()) {
      awaitBeginning(out);
      send("TERM", process);

      assertThat(process.waitFor()).isEqualTo(130);
      // On a slow machine there is no time left for emptying it.
      if (Files.size(target) > 0) {
        try (InputStream in = Files.newInputStream(target)) {
          assertThat(in.readNBytes(4)).containsExactly('Q', 'F', 'I', 0);
        }
      }
    } finally {
      process.destroyForcibly();
    }
  }

  /** Programs (incus) ask so for the progress of a command that was started without -p. */
  @Test
  void sigusr1TellsTheProgressOnStderrAndNothingElseHappens() throws Exception {
    Process process = start(slowConvert(folder.resolve("target")));
    try (BufferedReader out = process.inputReader();
        BufferedReader err = process.errorReader()) {
      awaitBeginning(out);
      send("USR1", process);
      assertThat(err.readLine()).matches("    \\(\\d?\\d\\.\\d\\d/100%\\)");
      send("USR1", process);
      assertThat(err.readLine()).matches("    \\(\\d?\\d\\.\\d\\d/100%\\)");
      send("INT", process);

      assertThat(process.waitFor()).isEqualTo(130);
      assertThat(err.readAllAsString()).isEqualTo("imago: interrupted\n");
    } finally {
      process.destroyForcibly();
    }
  }

  private String atATerminal(int columns, Path program, Object... words) throws Exception {
    List<String> line = new ArrayList<>(List.of("stty cols " + columns + ";"));
    line.add(program.toString());
    for (Object word : words) {
      line.add(word.toString());
    }
    return Tool.run("script", "-q", "-e", "-c", String.join(" ", line), "/dev/null").ok().out();
  }

  @Test
  void peopleAtATerminalSeeABar() throws Exception {
    Path source = folder.resolve("source.raw");
    Path target = folder.resolve("target");

    String shown = atATerminal(70, IMAGO, "convert", "-p", "-O", "qcow2", source, target);

    assertThat(shown).endsWith("\r\n").doesNotContain("/100%");
    String[] lines = shown.split("\r");
    assertThat(lines[0]).matches("convert +0% \\[> +] +0 B/48 MiB .*");
    assertThat(lines[lines.length - 3])
        .matches("convert 100% \\[=+]  48 MiB  [0-9.e+]+ [KMG]iB/s  in [0-9.:]+( s)? *");
    assertThat(lines).allSatisfy(line -> assertThat(line).hasSizeLessThan(70));
  }

  @Test
  void aResultStandsBelowTheBar() throws Exception {
    Path source = folder.resolve("source.raw");

    String shown = atATerminal(70, IMAGO, "compare", "-p", source, source);

    assertThat(shown).contains(" in ").endsWith("\r\r\nImages are identical.\r\n");
  }

  @Test
  void calledByQemusNameItPrintsQemusBytesEvenAtATerminal() throws Exception {
    Path name = Files.createSymbolicLink(folder.resolve("qemu-img"), IMAGO);
    Path source = folder.resolve("source.raw");
    Path target = folder.resolve("target");

    String shown = atATerminal(70, name, "convert", "-p", "-O", "qcow2", source, target);

    assertThat(shown)
        .startsWith("    (0.00/100%)\r")
        .endsWith("    (100.00/100%)\r    (100.00/100%)\r\r\n");
  }
}
