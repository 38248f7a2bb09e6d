package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image.Range;
import java.nio.ByteBuffer;
import java.util.BitSet;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class DirtyBitsTest {
  private static final int GRANULARITY_BITS = 9;
  private static final int GRANULE = 512;

  /** Bits of a page. */
  private static final int PAGE = 1 << 15;

  @Test
  void aRangeMarksEveryGranuleThatItTouches() {
    DirtyBits bits = new DirtyBits(10 * GRANULE, GRANULARITY_BITS);
    bits.mark(GRANULE - 1, 2);
    bits.mark(5 * GRANULE, GRANULE);
    bits.mark(7 * GRANULE, 0);

    assertThat(bits.extents())
        .containsExactly(new Range(0, 2 * GRANULE), new Range(5 * GRANULE, GRANULE));
    assertThat(bits.dirtyBytes()).isEqualTo(3 * GRANULE);
  }

  @Test
  void theLastGranuleEndsWithTheDisk() {
    DirtyBits bits = new DirtyBits(3 * GRANULE + 100, GRANULARITY_BITS);
    bits.mark(3 * GRANULE + 99, 1);

    assertThat(bits.extents()).containsExactly(new Range(3 * GRANULE, 100));
    assertThat(DirtyBits.bytes(3 * GRANULE + 100, GRANULARITY_BITS)).isEqualTo(1);
  }

  @Test
  void aHugeDiskTakesNoMemoryUntilItsBitsDiffer() {
    DirtyBits bits = new DirtyBits(1L << 41, GRANULARITY_BITS);
    bits.mark(0, 1L << 41);

    assertThat(bits.extents()).containsExactly(new Range(0, 1L << 41));
    assertThat(bits.uniform(1 << 20, 1 << 21, true)).isTrue();
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6})
  void itAgreesWithPlainBits(long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    int count = 1 + random.nextInt(3 * PAGE);
    DirtyBits bits = new DirtyBits((long) count * GRANULE, GRANULARITY_BITS);
    BitSet oracle = new BitSet();
    for (int i = 0; i < 60; i++) {
      int from = random.nextInt(count);
      int longest = random.nextInt(8) == 0 ? count : Math.min(count, 2000);
      int to = Math.min(count, from + 1 + random.nextInt(longest));
      switch (random.nextInt(12)) {
        case 0 -> {
          bits.clear();
          oracle.clear();
        }
        case 1 -> {
          count = 1 + random.nextInt(3 * PAGE);
          bits.resize((long) count * GRANULE);
          oracle.clear(count, Math.max(count, oracle.length()));
        }
        default -> {
          bits.mark((long) from * GRANULE, (long) (to - from) * GRANULE);
          oracle.set(from, to);
        }
      }
      assertThat(set(bits)).as("seed %d, step %d", seed, i).isEqualTo(oracle);
    }
    int length = (count + 63) / 64 * 8;
    ByteBuffer onDisk = ByteBuffer.allocate(length);
    bits.write(onDisk, 0);
    assertThat(BitSet.valueOf(onDisk.array())).as("seed %d", seed).isEqualTo(oracle);
    DirtyBits again = new DirtyBits((long) count * GRANULE, GRANULARITY_BITS);
    again.read(onDisk.flip(), 0);
    assertThat(set(again)).as("seed %d", seed).isEqualTo(oracle);
  }

  private static BitSet set(DirtyBits bits) {
    BitSet set = new BitSet();
    bits.extents()
        .forEach(
            r ->
                set.set(
                    (int) (r.guestOffset() / GRANULE),
                    (int) ((r.guestOffset() + r.length()) / GRANULE)));
    return set;
  }

  @Test
  void growingAfterAllBitsAreSetSetsNoMore() {
    DirtyBits bits = new DirtyBits(10 * GRANULE, GRANULARITY_BITS);
    bits.mark(0, 10 * GRANULE);
    bits.resize(20 * GRANULE);

    assertThat(bits.extents()).containsExactly(new Range(0, 10 * GRANULE));
  }

  @Test
  void whatIsCutOffDoesNotComeBack() {
    DirtyBits bits = new DirtyBits(20 * GRANULE, GRANULARITY_BITS);
    bits.mark(0, 20 * GRANULE);
    bits.resize(5 * GRANULE);
    bits.resize(20 * GRANULE);

    assertThat(bits.extents()).containsExactly(new Range(0, 5 * GRANULE));
  }

  @Test
  void mergingFinerAndCoarserBitsLosesNothing() {
    DirtyBits fine = new DirtyBits(100 * GRANULE, 9);
    DirtyBits coarse = new DirtyBits(100 * GRANULE, 12);
    fine.mark(9 * GRANULE, GRANULE);
    coarse.mark(60 * GRANULE, 1);
    coarse.merge(fine);
    fine.merge(coarse);

    List<Range> both = List.of(new Range(8 * GRANULE, 4096), new Range(56 * GRANULE, 4096));
    assertThat(coarse.extents()).containsExactlyElementsOf(both);
    assertThat(fine.extents()).containsExactlyElementsOf(both);
  }

  @Test
  void onlyWhatIsNewCountsAsAChange() {
    DirtyBits bits = new DirtyBits(100 * GRANULE, GRANULARITY_BITS);
    assertThat(bits.changed()).isFalse();
    bits.mark(0, 1);
    assertThat(bits.changed()).isTrue();
    bits.kept();
    bits.mark(0, GRANULE);
    assertThat(bits.changed()).isFalse();
    bits.clear();
    assertThat(bits.changed()).isTrue();
  }

  @Test
  void threadsThatMarkNeighboursLoseNothing() throws Exception {
    int threads = 4;
    DirtyBits bits = new DirtyBits((long) PAGE * 2 * GRANULE, GRANULARITY_BITS);
    CountDownLatch start = new CountDownLatch(1);
    Thread[] markers = new Thread[threads];
    for (int t = 0; t < threads; t++) {
      int mine = t;
      markers[t] =
          Thread.ofPlatform()
              .start(
                  () -> {
                    try {
                      start.await();
                    } catch (InterruptedException e) {
                      return;
                    }
                    for (int i = mine; i < PAGE * 2; i += threads) {
                      bits.mark((long) i * GRANULE, 1);
                    }
                  });
    }
    start.countDown();
    for (Thread marker : markers) {
      marker.join();
    }

    assertThat(bits.extents()).containsExactly(new Range(0, (long) PAGE * 2 * GRANULE));
  }
}
