package dev.imago.qcow2.ondisk;

import static dev.imago.qcow2.ondisk.L2Entry.Kind.COMPRESSED;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.DATA;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.INVALID;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.UNALLOCATED;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.ZERO;
import static dev.imago.qcow2.ondisk.L2Entry.Kind.ZERO_ALLOCATED;
import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class L2EntryTest {
  private static final Geometry V3 = new Geometry(16, 4, 3, false);
  private static final Geometry V2 = new Geometry(16, 4, 2, false);
  private static final Geometry EXTERNAL = new Geometry(16, 4, 3, true);

  @Test
  void theDigestsExamplesAreWhatItSays() {
    assertThat(kind(0, V3)).isEqualTo(UNALLOCATED);
    assertThat(kind(1, V3)).isEqualTo(ZERO);
    assertThat(kind(0x8000000000050000L, V3)).isEqualTo(DATA);
    assertThat(kind(0x0000000000050000L, V3)).isEqualTo(DATA);
    assertThat(kind(0x8000000000050001L, V3)).isEqualTo(ZERO_ALLOCATED);
    assertThat(kind(0x4300000000050000L, V3)).isEqualTo(COMPRESSED);
    assertThat(kind(0x434000000005190dL, V3)).isEqualTo(COMPRESSED);
  }

  @Test
  void whatBreaksTheFormatIsInvalid() {
    assertThat(kind(0x8000000000050200L, V3)).isEqualTo(INVALID);
    assertThat(kind(0x8000000000050201L, V3)).isEqualTo(INVALID);
    assertThat(kind(1, V2)).isEqualTo(INVALID);
    assertThat(kind(0x8000000000050001L, V2)).isEqualTo(INVALID);
    assertThat(kind(0x4300000000050000L, EXTERNAL)).isEqualTo(INVALID);
    Geometry small = new Geometry(9, 4, 3, false);
    assertThat(kind(0x4100000000000000L, small)).isEqualTo(INVALID);
    assertThat(kind(0x40ffffffffffffffL, small)).isEqualTo(COMPRESSED);
  }

  @Test
  void inADataFileCopiedTellsWhatIsAllocated() {
    assertThat(kind(0x8000000000000000L, EXTERNAL)).isEqualTo(DATA);
    assertThat(kind(0, EXTERNAL)).isEqualTo(UNALLOCATED);
    assertThat(kind(0x8000000000020000L, EXTERNAL)).isEqualTo(DATA);
    assertThat(kind(0x8000000000000001L, EXTERNAL)).isEqualTo(ZERO_ALLOCATED);
    assertThat(kind(1, EXTERNAL)).isEqualTo(ZERO);
    assertThat(kind(0x8000000000000000L, V3)).isEqualTo(UNALLOCATED);
  }

  private static L2Entry.Kind kind(long word, Geometry g) {
    return new L2Entry(word, 0).kind(0, g);
  }
}
