package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.examples.FileSystemLabel;
import dev.imago.examples.HostRuns;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The programs in examples/, on the image that lies beside them. */
class ExamplesTest {
  private static final String NOTES =
      Path.of(System.getProperty("imago.root"), "examples", "notes.raw").toString();

  @Test
  void labelOfTheExampleDisk() throws Exception {
    assertThat(printed(() -> FileSystemLabel.main(new String[] {NOTES}))).isEqualTo("notes\n");
  }

  @Test
  void rawBytesAreKeptWhereTheyAre() throws Exception {
    assertThat(printed(() -> HostRuns.main(new String[] {NOTES})))
        .startsWith("0 + ")
        .contains("at 0 of ");
  }

  private interface Program {
    void run() throws IOException;
  }

  private static String printed(Program program) throws IOException {
    PrintStream before = System.out;
    var bytes = new ByteArrayOutputStream();
    System.setOut(new PrintStream(bytes, true, StandardCharsets.UTF_8));
    try {
      program.run();
    } finally {
      System.setOut(before);
    }
    return bytes.toString(StandardCharsets.UTF_8).replace(System.lineSeparator(), "\n");
  }
}
