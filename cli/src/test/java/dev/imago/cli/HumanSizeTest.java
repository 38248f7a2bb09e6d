package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HumanSizeTest {
  @ParameterizedTest
  @CsvSource({
    "0,0 B",
    "1,1 B",
    "512,512 B",
    "999,999 B",
    "1000,0.977 KiB",
    "1023,0.999 KiB",
    "1024,1 KiB",
    "1025,1 KiB",
    "1536,1.5 KiB",
    "10240,10 KiB",
    "10752,10.5 KiB",
    "200704,196 KiB",
    "1000448,977 KiB",
    "1022976,999 KiB",
    "1023487,999 KiB",
    "1023488,1e+03 KiB",
    "1023999,1e+03 KiB",
    "1024000,0.977 MiB",
    "1048576,1 MiB",
    "1572864,1.5 MiB",
    "1152,1.12 KiB",
    "1408,1.38 KiB",
    "999653638144,931 GiB",
    "2188000000000,1.99 TiB",
    "1099511627776,1 TiB",
    "1152921504606846976,1 EiB",
    "9223372036854775807,8 EiB"
  })
  void printsThreeDigitsAndAUnit(long bytes, String text) {
    StringBuilder out = new StringBuilder();
    HumanSize.append(out, bytes);
    assertEquals(text, out.toString());
  }
}
