package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class InFlightTest {
  private final Budget budget = new Budget(100);
  private final InFlight one = new InFlight(4, 80, budget);
  private final InFlight two = new InFlight(4, 80, budget);

  @Test
  void requestsAndBytesOfAConnectionAreLimited() {
    assertThat(one.tryEnter(90)).isTrue(); // a single one
    assertThat(one.tryEnter(0)).isFalse();
    one.leave(90);
    for (int i = 0; i < 4; i++) {
      assertThat(one.tryEnter(20)).isTrue();
    }
    assertThat(one.tryEnter(0)).isFalse();
  }

  @Test
  void allConnectionsTogetherNeverHaveMoreThanTheBudget() {
    assertThat(one.tryEnter(101)).isFalse();
    assertThat(one.tryEnter(80)).isTrue();
    assertThat(two.tryEnter(21)).isFalse();
    assertThat(two.tryEnter(20)).isTrue();
    assertThat(two.tryEnter(1)).isFalse();
    assertThat(two.tryEnter(0)).as("what needs no memory").isTrue();
  }

  @Test
  void connectionThatHasNothingToGiveBackIsToldToDoWithoutMemory() {
    assertThat(one.enter(80)).isTrue();
    assertThat(two.enter(60)).isFalse();
    assertThat(two.requests()).isZero();
    assertThat(budget.waiting()).isZero();
    assertThat(two.enter(0)).isTrue();
  }

  @Test
  void connectionThatWaitsForMemoryGoesOnWhenAnotherGivesItBack() throws Exception {
    one.enter(80);
    two.enter(10);
    Thread waits = Thread.ofPlatform().start(() -> two.enter(30));
    while (budget.waiting() == 0) {
      Thread.onSpinWait();
    }
    assertThat(two.requests()).isEqualTo(1);

    one.leave(80);

    waits.join();
    assertThat(two.requests()).isEqualTo(2);
    assertThat(budget.waiting()).isZero();
  }
}
