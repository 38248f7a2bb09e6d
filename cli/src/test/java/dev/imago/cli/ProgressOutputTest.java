package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.imago.cli.ProgressOutput.Style;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class ProgressOutputTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final PrintStream stream = new PrintStream(out, false, StandardCharsets.UTF_8);

  private ProgressOutput output(Style style, double step) {
    return new ProgressOutput(new Terminal("imago", stream, stream), "convert", style, step);
  }

  private String printed() {
    stream.flush();
    return out.toString(StandardCharsets.UTF_8);
  }

  /** Recorded from qemu-img 7.2 convert -p. */
  @Test
  void peopleSeeWhatQemuPrints() {
    ProgressOutput output = output(Style.HUMAN, 1);
    output.begin();
    output.at(256, 1024);
    output.at(257, 1024);
    output.at(1024, 1024);
    output.end();

    assertEquals(
        "    (0.00/100%)\r    (25.00/100%)\r    (100.00/100%)\r    (100.00/100%)\r\n", printed());
  }

  @Test
  void smallStepsAreLeftOut() {
    ProgressOutput output = output(Style.HUMAN, 2);
    output.begin();
    for (int i = 0; i <= 10; i++) {
      output.at(i, 200);
    }
    output.stop();

    assertEquals("    (0.00/100%)\r    (2.00/100%)\r    (4.00/100%)\r\n", printed());
  }

  @Test
  void programsGetOneObjectALine() {
    ProgressOutput output = output(Style.JSON, 1);
    output.begin();
    output.at(0, 300);
    output.at(1, 300);
    output.at(150, 300);
    output.at(300, 300);
    output.at(300, 300);
    output.end();

    assertEquals(
        """
        {"command":"convert","done":0,"total":300}
        {"command":"convert","done":150,"total":300}
        {"command":"convert","done":300,"total":300}
        """,
        printed());
  }

  @Test
  void nothingIsDoneAtOnceIfThereIsNothingToDo() {
    ProgressOutput output = output(Style.JSON, 1);
    output.at(0, 0);

    assertEquals("{\"command\":\"convert\",\"done\":0,\"total\":0}\n", printed());
  }

  @Test
  void silenceIsSilent() {
    ProgressOutput output = output(Style.NONE, 1);
    output.begin();
    output.at(1, 1);
    output.end();
    output.stop();

    assertEquals("", printed());
  }
}
