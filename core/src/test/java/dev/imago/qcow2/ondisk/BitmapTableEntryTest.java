package dev.imago.qcow2.ondisk;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class BitmapTableEntryTest {
  private static final Geometry GEOMETRY = new Geometry(16, 4, 3, false);

  @Test
  void qemusEntryLeadsToACluster() {
    long entry = 0x0000_0000_0009_0000L;

    assertThat(BitmapTableEntry.corrupt(entry, GEOMETRY)).isFalse();
    assertThat(BitmapTableEntry.hostOffset(entry)).isEqualTo(0x90000);
  }

  @Test
  void allZeroesAndAllOnesTakeNoSpace() {
    for (long entry : new long[] {BitmapTableEntry.ALL_ZEROES, BitmapTableEntry.ALL_ONES}) {
      assertThat(BitmapTableEntry.corrupt(entry, GEOMETRY)).isFalse();
      assertThat(BitmapTableEntry.hostOffset(entry)).isZero();
    }
  }

  @Test
  void anOffsetThatIsNotAlignedOrSaysAllOnesTooIsCorrupt() {
    assertThat(BitmapTableEntry.corrupt(0x90200, GEOMETRY)).isTrue();
    assertThat(BitmapTableEntry.corrupt(0x90001, GEOMETRY)).isTrue();
  }

  @Test
  void reservedBitsAreCorrupt() {
    assertThat(BitmapTableEntry.corrupt(2, GEOMETRY)).isTrue();
    assertThat(BitmapTableEntry.corrupt(1L << 8, GEOMETRY)).isTrue();
    assertThat(BitmapTableEntry.corrupt(1L << 56 | 0x90000, GEOMETRY)).isTrue();
    assertThat(BitmapTableEntry.corrupt(1L << 63, GEOMETRY)).isTrue();
  }
}
