package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class SharedRangesTest {
  @Test
  void rangesAreCutWhereOthersBeginOrEnd() throws Exception {
    SharedRanges ranges = new SharedRanges();
    ranges.add(100, 100);
    ranges.add(150, 100);
    ranges.add(250, 10);
    ranges.add(150, 0);
    ranges.add(300, 8);
    ranges.add(300, 8);

    List<String> pieces = new ArrayList<>();
    ranges.forEach((start, length, times) -> pieces.add(start + "+" + length + " x" + times));

    assertThat(pieces)
        .containsExactly("100+50 x1", "150+50 x2", "200+50 x1", "250+10 x1", "300+8 x2");
  }

  @Test
  void everyByteIsInAsManyPiecesTimesAsRanges() throws Exception {
    Random random = new Random(2);
    for (int round = 0; round < 100; round++) {
      SharedRanges ranges = new SharedRanges();
      int[] expected = new int[300];
      for (int i = 0; i < 40; i++) {
        int start = random.nextInt(200);
        int length = random.nextInt(100);
        ranges.add(start, length);
        for (int j = start; j < start + length; j++) {
          expected[j]++;
        }
      }
      int[] found = new int[300];
      ranges.forEach(
          (start, length, times) -> {
            for (long j = start; j < start + length; j++) {
              found[(int) j] += times;
            }
          });
      assertThat(found).isEqualTo(expected);
    }
  }
}
