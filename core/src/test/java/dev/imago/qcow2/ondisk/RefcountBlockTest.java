package dev.imago.qcow2.ondisk;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.util.Random;
import org.junit.jupiter.api.Test;

class RefcountBlockTest {
  /** Clusters 0 to 6 used once (digest, section 5), by order. */
  private static final String[] SEVEN = {
    "7f",
    "5515",
    "11111101",
    "01010101010101",
    "0001".repeat(7),
    "00000001".repeat(7),
    "0000000000000001".repeat(7)
  };

  @Test
  void sevenClustersUsedOnceLookAsInQemusImages() {
    for (int order = 0; order <= 6; order++) {
      ByteBuffer single = ByteBuffer.allocate(64);
      for (int i = 0; i < 7; i++) {
        RefcountBlock.set(single, i, order, 1);
      }
      ByteBuffer filled = ByteBuffer.allocate(64);
      RefcountBlock.fillOnes(filled, 0, 7, order);

      assertThat(Hex.hex(single)).startsWith(SEVEN[order]);
      assertThat(filled).isEqualTo(single);
      for (int i = 0; i < 8; i++) {
        assertThat(RefcountBlock.get(single, i, order)).isEqualTo(i < 7 ? 1 : 0);
      }
    }
  }

  @Test
  void countsDoNotTouchTheirNeighboursAndAgreeWithTheGeometry() {
    Random random = new Random(3);
    for (int order = 0; order <= 6; order++) {
      Geometry g = new Geometry(9, order, 3, false);
      int count = (int) g.refcountsPerBlock();
      ByteBuffer block = ByteBuffer.allocate(512);
      long[] expected = new long[count];
      for (int i = 0; i < 5000; i++) {
        int index = random.nextInt(count);
        expected[index] = random.nextLong() & g.maxRefcount();
        RefcountBlock.set(block, index, order, expected[index]);
      }
      for (int i = 0; i < count; i++) {
        assertThat(RefcountBlock.get(block, i, order)).isEqualTo(expected[i]);
        long word = block.getLong(g.refcountWord(i) * 8);
        assertThat(word >>> g.refcountShift(i) & g.maxRefcount()).isEqualTo(expected[i]);
      }
    }
  }

  @Test
  void onesCanBeginAndEndAnywhere() {
    for (int order = 0; order <= 6; order++) {
      for (int from = 0; from < 20; from++) {
        for (int to = from; to < 20; to++) {
          ByteBuffer block = ByteBuffer.allocate(160);
          RefcountBlock.fillOnes(block, from, to, order);
          for (int i = 0; i < 20; i++) {
            assertThat(RefcountBlock.get(block, i, order)).isEqualTo(i >= from && i < to ? 1 : 0);
          }
        }
      }
    }
  }
}
