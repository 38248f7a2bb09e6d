package dev.imago.filter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.filter.ThrottleGroup.Kind;
import dev.imago.filter.ThrottleGroup.Limit;
import java.util.List;
import org.junit.jupiter.api.Test;

class ThrottleGroupTest {
  private static final long SECOND = 1_000_000_000L;

  /** Long after the group was made, so that its buckets are full. */
  private final long start = System.nanoTime() + 3600 * SECOND;

  private static ThrottleGroup group(Limit... limits) {
    return new ThrottleGroup(List.of(limits), 0);
  }

  private static Limit bytes(Kind kind, long average) {
    return new Limit(kind, true, average, 0, 1);
  }

  @Test
  void aRequestGoesAtOnceAndTheNextOneWaitsUntilItsDebtIsPaid() {
    ThrottleGroup group = group(bytes(Kind.TOTAL, 1000));

    assertThat(group.enter(false, 1100, start))
        .isZero(); // a tenth of a second's worth was saved up
    assertThat(group.enter(true, 1, start)).isEqualTo(SECOND);
    assertThat(group.enter(true, 1, start + SECOND / 2)).isEqualTo(SECOND / 2);
    assertThat(group.enter(true, 1, start + SECOND)).isZero();
  }

  @Test
  void readsAndWritesHaveLimitsOfTheirOwn() {
    ThrottleGroup group = group(bytes(Kind.READ, 1000), bytes(Kind.WRITE, 10));

    assertThat(group.enter(false, 1100, start)).isZero();
    assertThat(group.enter(true, 11, start)).isZero();
    assertThat(group.enter(false, 1, start)).isEqualTo(SECOND);
    assertThat(group.enter(true, 1, start)).isEqualTo(SECOND);
  }

  @Test
  void requestsAreCountedAndLongOnesCountAsSeveral() {
    ThrottleGroup group = new ThrottleGroup(List.of(new Limit(Kind.TOTAL, false, 10, 0, 1)), 4096);

    assertThat(group.enter(false, 100, start)).isZero();
    assertThat(group.enter(false, 8192, start)).isZero(); // one was saved up: two are owed
    assertThat(group.enter(false, 1, start)).isEqualTo(SECOND / 5);
  }

  @Test
  void aBurstLastsAsLongAsItIsAllowedTo() {
    ThrottleGroup group = group(new Limit(Kind.TOTAL, true, 100, 1000, 2));

    assertThat(group.enter(false, 1100, start)).isZero();
    assertThat(group.enter(false, 1, start)).isEqualTo(SECOND); // 1000 a second, and no more
    assertThat(group.enter(false, 1000, start + SECOND)).isZero();
    assertThat(group.enter(false, 201, start + 2 * SECOND)).isZero(); // the burst is used up
    assertThat(group.enter(false, 1, start + 2 * SECOND)).isGreaterThan(SECOND);
  }

  @Test
  void withoutLimitsNothingWaits() {
    ThrottleGroup group = group();

    assertThat(group.enter(false, Long.MAX_VALUE, start)).isZero();
    assertThat(group.enter(true, Long.MAX_VALUE, start)).isZero();
  }

  @Test
  void anInterruptEndsNoWaitAndIsKept() {
    ThrottleGroup group = group(bytes(Kind.TOTAL, 1_000_000));
    group.await(false, 150_000);

    Thread.currentThread().interrupt();
    group.await(false, 1);

    assertThat(Thread.interrupted()).isTrue();
  }

  @Test
  void numbersThatMakeNoSenseAreRefused() {
    assertThatThrownBy(() -> bytes(Kind.TOTAL, 0)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> new Limit(Kind.READ, true, 10, 5, 1))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> new Limit(Kind.READ, true, 10, 20, 0))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> new ThrottleGroup(List.of(), -1))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
