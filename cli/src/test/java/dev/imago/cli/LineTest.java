package dev.imago.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import org.junit.jupiter.api.Test;

class LineTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();

  private String printed(Line line) {
    out.reset();
    PrintStream stream = new PrintStream(out);
    line.print(stream);
    stream.flush();
    return out.toString();
  }

  @Test
  void hexFillsItsColumnAndIsNeverCutOff() {
    long[] numbers = {0, 1, 15, 16, 0xabc, 0x1000, Long.MAX_VALUE, 0x123456789abcdef0L};
    for (long number : numbers) {
      String text = number == 0 ? "0" : "0x" + Long.toHexString(number);

      assertThat(printed(new Line().hex(number, 6).text(Line.bytes("|"))))
          .isEqualTo("%-6s|".formatted(text));
    }
  }

  @Test
  void decimalsAreAsJavaPrintsThem() {
    long[] numbers = {0, 9, 10, 99, 100, 65536, Long.MAX_VALUE};
    for (long number : numbers) {
      assertThat(printed(new Line().decimal(number))).isEqualTo(Long.toString(number));
    }
  }

  @Test
  void growsAsNeededAndBeginsAnewAfterPrinting() {
    byte[] much = Line.bytes("x".repeat(700));
    Line line = new Line().text(much).text(much).decimal(5);

    assertThat(printed(line)).isEqualTo("x".repeat(1400) + "5");
    assertThat(printed(line.text(Line.bytes("ü")))).isEqualTo("ü");
  }
}
