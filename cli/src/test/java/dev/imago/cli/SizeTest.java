package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SizeTest {
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();
  private final Terminal terminal =
      new Terminal(
          "imago",
          new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8),
          new PrintStream(err, true, StandardCharsets.UTF_8));

  @ParameterizedTest
  @CsvSource({
    "0,0",
    "00,0",
    "5,5",
    "' 5',5",
    "+5,5",
    "'\t +5',5",
    "010,10",
    "0x10,16",
    "0X1f,31",
    "1b,1",
    "1B,1",
    "1k,1024",
    "1K,1024",
    "1.5k,1536",
    "1.k,1024",
    "1.,1",
    "1.0,1",
    "1.0b,1",
    "0.5k,512",
    "1.1k,1126",
    "1.999k,2047",
    "1.9999999k,2048",
    "0.0001k,0",
    "1.1M,1153434",
    "0.1G,107374182",
    "3.3T,3628388371661",
    "1t,1099511627776",
    "1p,1125899906842624",
    "1.5E,1729382256910270464",
    "7.99999999999E,9223372036843246592",
    "9223372036854775807,9223372036854775807",
    "0x1e,30",
    "0x1b,27"
  })
  void readsSizes(String text, long bytes) {
    assertEquals(new Size(Size.Kind.OK, bytes), Size.parse(text));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "", " ", "k", "abc", "-1", "-0", "+-5", "1.5", "1.5b", ".5M", "1e3", "1.5e3", "1.e3", "1kk",
        "1KiB", "1MB", "5 ", "1 k", "0x", "0xk", "0x1.8k", "1..5k", "1.0.5k", "1,5k", "inf", "nan",
        "++1", "1k1", "0x1kk"
      })
  void refusesEverythingElse(String text) {
    assertEquals(Size.Kind.INVALID, Size.parse(text).kind());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "18446744073709551616",
        "16E",
        "99E",
        "0x10000000000000000",
        "15.99999999999999999999E"
      })
  void knowsWhatDoesNotFitInto64Bits(String text) {
    assertEquals(Size.Kind.OUT_OF_RANGE, Size.parse(text).kind());
  }

  @Test
  void allOf64BitsAreThere() {
    assertEquals(new Size(Size.Kind.OK, -1), Size.parse("18446744073709551615"));
    assertEquals(new Size(Size.Kind.OK, -1), Size.parse("0xffffffffffffffff"));
  }

  @Test
  void aUnitBehindHexadecimalDigitsIsWarnedOf() throws Exception {
    assertEquals(16384, Size.require(terminal, "image size", "0x10k", 0, Long.MAX_VALUE));
    assertEquals(
        "imago: warning: Using a multiplier suffix on hex numbers is deprecated: 0x10k\n",
        err.toString(StandardCharsets.UTF_8));
  }

  @Test
  void messagesNameWhatItIsTheSizeOf() {
    assertEquals(
        "Invalid image size specified. You may use k, M, G, T, P or E suffixes for\n"
            + "imago: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
        assertThrows(
                Failure.class, () -> Size.require(terminal, "image size", "x", 0, Long.MAX_VALUE))
            .getMessage());
    assertEquals(
        "Invalid bs specified. Must be between 1 and 2147483647.",
        assertThrows(Failure.class, () -> Size.require(terminal, "bs", "0", 1, Integer.MAX_VALUE))
            .getMessage());
    assertEquals(
        "Invalid image size specified. Must be between 0 and 9223372036854775807.",
        assertThrows(
                Failure.class, () -> Size.require(terminal, "image size", "8E", 0, Long.MAX_VALUE))
            .getMessage());
    assertEquals(
        "Value '99E' is out of range for parameter 'size'",
        assertThrows(Failure.class, () -> Size.requireParameter(terminal, "size", "99E"))
            .getMessage());
    assertEquals(
        "Parameter 'size' expects a non-negative number below 2^64\n"
            + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
            + "and exabytes, respectively.",
        assertThrows(Failure.class, () -> Size.requireParameter(terminal, "size", "x"))
            .getMessage());
  }
}
