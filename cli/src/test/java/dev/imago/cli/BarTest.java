package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class BarTest {
  private static final long SECOND = 1_000_000_000;
  private static final long MIB = 1 << 20;

  @Test
  void showsWhatIsDoneHowFastAndHowLongTheRestTakes() {
    Bar bar = new Bar("convert", true, 80, 0);
    bar.line(0, 1024 * MIB, 0);

    assertEquals(
        "convert  25% [======>                   ]  256 MiB/1 GiB  256 MiB/s  3.0 s left\r",
        bar.line(256 * MIB, 1024 * MIB, SECOND));
  }

  @Test
  void theEndSaysHowLongAllOfItTook() {
    Bar bar = new Bar("convert", true, 60, 0);
    bar.line(0, 1024 * MIB, 0);

    assertEquals(
        "convert 100% [================]  1 GiB  256 MiB/s  in 4.0 s\r",
        bar.line(1024 * MIB, 1024 * MIB, 4 * SECOND));
  }

  @Test
  void piecesOfWorkHaveNoUnit() {
    Bar bar = new Bar("check", false, 60, 0);
    bar.line(0, 500, 0);

    assertEquals(
        "check  20% [=====>                   ]  100/500  4.0 s left\r",
        bar.line(100, 500, SECOND));
  }

  @Test
  void aLineCoversTheOneBefore() {
    Bar bar = new Bar("check", false, 60, 0);
    String first = bar.line(0, 500, 0);
    String second = bar.line(500, 500, SECOND);

    assertTrue(first.length() <= second.length(), first + second);
  }

  @Test
  void linesComeNoOftenerThanTenTimesASecondButForTheLast() {
    Bar bar = new Bar("convert", true, 80, 0);
    bar.line(0, MIB, 0);

    assertEquals("", bar.line(1, MIB, SECOND / 20));
    assertTrue(bar.line(MIB, MIB, SECOND / 20).startsWith("convert 100% ["));
  }

  @Test
  void aNarrowTerminalIsNotOverrun() {
    Bar bar = new Bar("convert", true, 20, 0);

    assertEquals("convert  50%   512\r", bar.line(512 << 10, MIB, SECOND).replaceAll(" +\r", "\r"));
  }

  @Test
  void nothingToDoIsDone() {
    assertTrue(new Bar("convert", true, 80, 0).line(0, 0, 0).startsWith("convert 100% [="));
  }

  @Test
  void timesAreShort() {
    assertEquals("0.4 s", Bar.time(0.42));
    assertEquals("12 s", Bar.time(12.3));
    assertEquals("3:07", Bar.time(187));
    assertEquals("2:03:07", Bar.time(7387));
  }
}
