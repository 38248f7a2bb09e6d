package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ReferenceCountsTest {
  private static final long BUDGET = 64 << 20;

  @ParameterizedTest
  @ValueSource(longs = {5, 1024, 100_000, 1L << 40})
  void countsAreWhatAMapWouldCount(long clusters) throws Exception {
    ReferenceCounts counts = new ReferenceCounts(clusters, BUDGET);
    Map<Long, Integer> expected = new HashMap<>();
    Random random = new Random(clusters);
    for (int i = 0; i < 20_000; i++) {
      long cluster = Math.min(clusters - 1, random.nextLong(1 + random.nextLong(clusters)));
      int times = 1 << random.nextInt(random.nextInt(100) == 0 ? 30 : 2);
      counts.add(cluster, times);
      expected.merge(cluster, times, (a, b) -> (int) Math.min(Integer.MAX_VALUE, (long) a + b));
    }
    expected.forEach((cluster, count) -> assertThat(counts.get(cluster)).isEqualTo(count));
    for (int i = 0; i < 1000; i++) {
      long cluster = random.nextLong(clusters);
      assertThat(counts.get(cluster)).isEqualTo(expected.getOrDefault(cluster, 0));
    }
    long found = 0;
    for (long at = counts.nextChunk(0);
        at >= 0;
        at = counts.nextChunk(at + ReferenceCounts.CHUNK)) {
      for (long i = at; i < at + ReferenceCounts.CHUNK; i++) {
        found += counts.get(i) != 0 ? 1 : 0;
      }
    }
    assertThat(found).isEqualTo(expected.size());
  }

  @Test
  void rangesAreCountedLikeTheirClusters() throws Exception {
    ReferenceCounts counts = new ReferenceCounts(10_000, BUDGET);
    counts.addAll(1000, 5000, 1);
    counts.addAll(2048, 3071, 2);
    counts.addAll(9999, 9999, 7);

    for (int i = 0; i < 10_000; i++) {
      int expected = (i >= 1000 && i <= 5000 ? 1 : 0) + (i >= 2048 && i <= 3071 ? 2 : 0);
      assertThat(counts.get(i)).as("cluster %d", i).isEqualTo(i == 9999 ? 7 : expected);
    }
  }

  @Test
  void countsStopAtTheLargestInt() throws Exception {
    ReferenceCounts counts = new ReferenceCounts(10, BUDGET);
    counts.add(3, Integer.MAX_VALUE);
    counts.add(3, Integer.MAX_VALUE);

    assertThat(counts.get(3)).isEqualTo(Integer.MAX_VALUE);
    assertThat(counts.get(2)).isZero();
  }

  @Test
  void theQuickWayIsForFirstReferencesOnly() throws Exception {
    ReferenceCounts counts = new ReferenceCounts(2000, BUDGET);
    assertThat(counts.addFirst(5)).as("no chunk yet").isFalse();
    counts.add(4, 1);

    assertThat(counts.addFirst(5)).isTrue();
    assertThat(counts.addFirst(5)).isFalse();
    assertThat(counts.get(5)).isEqualTo(1);
    assertThat(counts.shared()).isFalse();
    counts.add(5, 1);
    assertThat(counts.shared()).isTrue();
    counts.add(5, 100);
    assertThat(counts.addFirst(6)).as("a chunk of wider counts").isFalse();
    assertThat(counts.narrowChunk(5)).isNull();
    assertThat(counts.get(4)).isEqualTo(1);
  }

  @Test
  void memoryIsLimited() {
    for (long clusters : new long[] {1 << 30, 1L << 50}) {
      ReferenceCounts counts = new ReferenceCounts(clusters, 1 << 20);
      assertThatThrownBy(
              () -> {
                for (long i = 0; i < 10_000; i++) {
                  counts.add(i * ReferenceCounts.CHUNK, 1);
                }
              })
          .isInstanceOf(ReferenceCounts.TooScatteredException.class);
    }
  }
}
