package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** Time passes only where somebody waits. */
class PaceTest {
  private static final long SECOND = 1_000_000_000;

  /** A clock that is moved by waiting; it wakes who waits too early now and then. */
  private static final class FakeClock implements Pace.Clock {
    private long now = Long.MAX_VALUE - SECOND;
    private long start = now;
    private int parks;

    @Override
    public long nanoTime() {
      return now;
    }

    @Override
    public void park(long nanos) {
      now += parks++ % 2 == 0 ? (nanos + 1) / 2 : nanos;
    }

    long passed() {
      return now - start;
    }
  }

  private final FakeClock clock = new FakeClock();

  @Test
  void withoutALimitNobodyWaits() {
    Pace pace = new Pace(0, clock);
    pace.await(Long.MAX_VALUE);
    pace.await(Long.MAX_VALUE);
    assertThat(clock.passed()).isZero();
  }

  @Test
  void whatIsMovedFirstIsPaidForByTheNext() {
    Pace pace = new Pace(1000, clock);
    pace.await(500);
    assertThat(clock.passed()).isZero();
    pace.await(2000);
    assertThat(clock.passed()).isEqualTo(SECOND / 2);
    pace.await(1);
    assertThat(clock.passed()).isEqualTo(5 * SECOND / 2);
  }

  @Test
  void inTheLongRunTheRateIsKept() {
    Pace pace = new Pace(3 << 20, clock);
    for (int i = 0; i < 1000; i++) {
      pace.await(1 << 20);
    }
    assertThat(clock.passed()).isBetween(332 * SECOND, 333 * SECOND + SECOND / 10);
  }

  @Test
  void timeThatNobodyUsedIsNotSavedUp() {
    Pace pace = new Pace(1000, clock);
    clock.now += 100 * SECOND;
    clock.start = clock.now;
    pace.await(1000);
    pace.await(1000);
    assertThat(clock.passed()).isEqualTo(SECOND);
  }

  @Test
  void nothingCostsNothing() {
    Pace pace = new Pace(1, clock);
    pace.await(10);
    pace.await(0);
    assertThat(clock.passed()).isZero();
  }

  @Test
  void anInterruptEndsTheWaiting() {
    Pace pace = new Pace(1, clock);
    pace.await(1000);
    Thread.currentThread().interrupt();
    try {
      pace.await(1000);
      assertThat(clock.passed()).isZero();
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
  }
}
