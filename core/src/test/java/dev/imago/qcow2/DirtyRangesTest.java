package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image.Range;
import org.junit.jupiter.api.Test;

/** Dirty extents of a part of the disk, as they are asked for by who serves block status. */
class DirtyRangesTest {
  private static final long GRANULE = 64 << 10;

  private final DirtyBits bits = new DirtyBits(10 * GRANULE + 512, 16);

  @Test
  void extentsAreCutToTheRange() {
    bits.mark(GRANULE, 3 * GRANULE);
    bits.mark(6 * GRANULE, 1);

    assertThat(bits.extents(0, GRANULE)).isEmpty();
    assertThat(bits.extents(GRANULE + 1, 10)).containsExactly(new Range(GRANULE + 1, 10));
    assertThat(bits.extents(2 * GRANULE, 5 * GRANULE))
        .containsExactly(new Range(2 * GRANULE, 2 * GRANULE), new Range(6 * GRANULE, GRANULE));
    assertThat(bits.extents(4 * GRANULE, 2 * GRANULE)).isEmpty();
    assertThat(bits.extents(3 * GRANULE, 0)).isEmpty();
  }

  @Test
  void lastGranuleEndsWithTheDisk() {
    bits.mark(10 * GRANULE, 1);

    assertThat(bits.extents()).containsExactly(new Range(10 * GRANULE, 512));
    assertThat(bits.extents(10 * GRANULE + 100, 412))
        .containsExactly(new Range(10 * GRANULE + 100, 412));
    assertThat(bits.extents(10 * GRANULE + 100, 12))
        .containsExactly(new Range(10 * GRANULE + 100, 12));
  }
}
