package dev.imago.qcow2.ondisk;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class GeometryTest {
  private static final long GIB = 1L << 30;

  @Test
  void anExtendedTableMapsHalfAsMuch() {
    Geometry standard = new Geometry(16, 4, 3, false);
    Geometry extended = new Geometry(16, 4, 3, false, true);
    assertThat(standard.l2Entries()).isEqualTo(8192);
    assertThat(extended.l2Entries()).isEqualTo(4096);
    assertThat(standard.l2Coverage()).isEqualTo(GIB / 2);
    assertThat(extended.l2Coverage()).isEqualTo(GIB / 4);
    assertThat(standard.l1Entries(GIB)).isEqualTo(2);
    assertThat(extended.l1Entries(GIB)).isEqualTo(4);
    assertThat(extended.l1Entries(GIB + 1)).isEqualTo(5);
    assertThat(extended.l1Index(GIB - 1)).isEqualTo(3);
    assertThat(extended.l2Index(GIB - 1)).isEqualTo(4095);
    assertThat(extended.l2EntryBytes()).isEqualTo(16);
    assertThat(standard.l2EntryBytes()).isEqualTo(8);
  }

  @Test
  void aSliceOf4096BytesHasHalfAsManyExtendedEntries() {
    Geometry standard = new Geometry(16, 4, 3, false);
    Geometry extended = new Geometry(16, 4, 3, false, true);
    assertThat(standard.sliceEntries()).isEqualTo(512);
    assertThat(extended.sliceEntries()).isEqualTo(256);
    assertThat(extended.sliceCoverage()).isEqualTo(256 << 16);
    assertThat(extended.l2Slice((256 << 16) - 1)).isZero();
    assertThat(extended.l2Slice(256 << 16)).isEqualTo(1);
    assertThat(extended.entryInSlice(257 << 16)).isEqualTo(1);
    assertThat(standard.entryInSlice(257 << 16)).isEqualTo(257);
  }

  @Test
  void subclustersAreA32ndOfAClusterAndWithoutThemAClusterIsOne() {
    Geometry extended = new Geometry(21, 4, 3, false, true);
    assertThat(extended.subclusterSize()).isEqualTo(64 << 10);
    assertThat(extended.subcluster((5L << 21) + (3 << 16) + 7)).isEqualTo(3);
    assertThat(extended.subclusterStart((5L << 21) + (3 << 16) + 7))
        .isEqualTo((5L << 21) + (3 << 16));
    assertThat(extended.subclusterEnd((5L << 21) + 7)).isEqualTo((5L << 21) + (1 << 16));
    assertThat(extended.subclusterEnd(5L << 21)).isEqualTo(5L << 21);
    Geometry standard = new Geometry(21, 4, 3, false);
    assertThat(standard.subclusters()).isEqualTo(1);
    assertThat(standard.subclusterSize()).isEqualTo(2 << 20);
    assertThat(standard.subcluster((6L << 21) - 1)).isZero();
  }

  /** The longest disks: half as long with extended entries. */
  @Test
  void theLongestDisksNeedTheLongestL1Table() {
    long pib = 1L << 50;
    assertThat(new Geometry(16, 4, 3, false).l1Entries(2 * pib)).isEqualTo(Geometry.MAX_L1_ENTRIES);
    assertThat(new Geometry(16, 4, 3, false, true).l1Entries(pib))
        .isEqualTo(Geometry.MAX_L1_ENTRIES);
    assertThat(new Geometry(21, 4, 3, false, true).l1Entries(1024 * pib))
        .isEqualTo(Geometry.MAX_L1_ENTRIES);
  }

  @Test
  void aZeroCountIsSeenInAnyPlaceOfAWordAndNowhereElse() {
    for (int order = 0; order <= 6; order++) {
      Geometry geometry = new Geometry(16, order, 3, false);
      int counts = geometry.refcountsPerWord();
      assertThat(counts).isEqualTo(64 / geometry.refcountBits());
      for (long value : new long[] {1, geometry.maxRefcount(), geometry.maxRefcount() / 2 + 1}) {
        long full = 0;
        for (int i = 0; i < counts; i++) {
          full |= value << geometry.refcountShift(i);
        }
        assertThat(geometry.hasZeroRefcount(full)).as("%d bits, %x", 1 << order, full).isFalse();
        for (int i = 0; i < counts; i++) {
          long one = full & ~(geometry.maxRefcount() << geometry.refcountShift(i));
          assertThat(geometry.hasZeroRefcount(one)).as("%d bits, %x", 1 << order, one).isTrue();
        }
      }
      assertThat(geometry.hasZeroRefcount(0)).isTrue();
    }
  }
}
