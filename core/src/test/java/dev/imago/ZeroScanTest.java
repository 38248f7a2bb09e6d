package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ZeroScanTest {

  @Test
  void oneByteAnywhereIsSeenInRangesOfEveryShortLength() {
    for (boolean direct : new boolean[] {false, true}) {
      ByteBuffer buffer = direct ? ByteBuffer.allocateDirect(300) : ByteBuffer.allocate(300);
      for (int length = 0; length < 150; length++) {
        for (int from : new int[] {0, 1, 7, 8, 63, 101}) {
          assertThat(ZeroScan.isZero(buffer, from, from + length)).isTrue();
          for (int at = from; at < from + length; at++) {
            buffer.put(at, (byte) 0x80);
            assertThat(ZeroScan.isZero(buffer, from, from + length)).isFalse();
            buffer.put(at, (byte) 0);
          }
        }
      }
    }
  }

  @Test
  void bytesJustOutsideOfTheRangeDoNotCount() {
    ByteBuffer buffer = ByteBuffer.allocateDirect(300);
    buffer.put(16, (byte) 1).put(217, (byte) 1);

    assertThat(ZeroScan.isZero(buffer, 17, 217)).isTrue();
    assertThat(ZeroScan.isZero(buffer, 16, 217)).isFalse();
    assertThat(ZeroScan.isZero(buffer, 17, 218)).isFalse();
  }

  @Test
  void positionAndLimitDoNotMatterAndAreLeftAlone() {
    ByteBuffer buffer = ByteBuffer.allocate(100).position(20).limit(30);

    assertThat(ZeroScan.isZero(buffer, 0, 100)).isTrue();
    assertThat(buffer.position()).isEqualTo(20);
    assertThat(buffer.limit()).isEqualTo(30);
  }

  @Test
  void runsBeginAtMultiplesOfTheUnitOnTheDiskNotInTheBuffer() throws Exception {
    ByteBuffer buffer = ByteBuffer.allocate(24);
    buffer.put(3, (byte) 1);

    // The disk's units of 8 end at the buffer's 6, 14 and 22.
    assertThat(runs(buffer, 0, 24, 1002, 8, 8)).containsExactly("data 0-6", "zero 6-24");
  }

  @Test
  void zeroesShorterThanAskedForStayData() throws Exception {
    ByteBuffer buffer = ByteBuffer.allocate(64);
    buffer.put(0, (byte) 1).put(16, (byte) 1).put(56, (byte) 1);

    assertThat(runs(buffer, 0, 64, 0, 8, 16))
        .containsExactly("data 0-24", "zero 24-56", "data 56-64");
    assertThat(runs(buffer, 0, 64, 0, 8, 40)).containsExactly("data 0-64");
  }

  @Test
  void aRangeOfZeroesIsZeroHoweverShortItIs() throws Exception {
    assertThat(runs(ByteBuffer.allocate(5), 1, 4, 0, 4096, 65536)).containsExactly("zero 1-4");
    assertThat(runs(ByteBuffer.allocate(5), 2, 2, 0, 4096, 65536)).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6})
  void noByteIsLostNoDataIsCalledZeroAndNoLongRunOfZeroesIsCalledData(long seed) throws Exception {
    var random = new SplittableRandom(seed);
    for (int round = 0; round < 300; round++) {
      byte[] bytes = new byte[random.nextInt(1, 5000)];
      for (int i = random.nextInt(1, 7) * random.nextInt(7); i > 0; i--) {
        bytes[random.nextInt(bytes.length)] = 1;
      }
      int from = random.nextInt(bytes.length);
      int to = random.nextInt(from, bytes.length + 1);
      int unit = 8 << random.nextInt(7);
      int shortest = unit * random.nextInt(1, 5);
      long offset = random.nextLong(1L << 40);
      int[] next = {from};
      boolean[] last = {false};
      ZeroScan.split(
          ByteBuffer.wrap(bytes),
          from,
          to,
          offset,
          unit,
          shortest,
          (zero, start, end) -> {
            assertThat(start).isEqualTo(next[0]).isLessThan(end);
            if (start > from) {
              assertThat(zero).isNotEqualTo(last[0]);
              assertThat((offset + start - from) % unit).isZero();
            }
            if (zero) {
              for (int i = start; i < end; i++) {
                assertThat(bytes[i]).isZero();
              }
              assertThat(end - start >= shortest || end - start == to - from).isTrue();
            } else {
              assertThat(longestZeroes(bytes, start, end, offset - from, unit))
                  .isLessThan(shortest);
            }
            next[0] = end;
            last[0] = zero;
          });
      assertThat(next[0]).isEqualTo(to);
    }
  }

  /**
   * The longest run of units of zeroes in a range; {@code start} is where byte 0 is on the disk.
   */
  private static int longestZeroes(byte[] bytes, int from, int to, long start, int unit) {
    int longest = 0;
    int zeroes = 0;
    for (int at = from; at < to; ) {
      int end = (int) Math.min(to, at + unit - (start + at) % unit);
      boolean zero = ZeroScan.isZero(ByteBuffer.wrap(bytes), at, end);
      zeroes = zero ? zeroes + end - at : 0;
      longest = Math.max(longest, zeroes);
      at = end;
    }
    return longest;
  }

  private static List<String> runs(
      ByteBuffer buffer, int from, int to, long offset, int unit, int shortest) throws IOException {
    List<String> runs = new ArrayList<>();
    ZeroScan.split(
        buffer,
        from,
        to,
        offset,
        unit,
        shortest,
        (zero, start, end) -> runs.add((zero ? "zero " : "data ") + start + "-" + end));
    return runs;
  }
}
