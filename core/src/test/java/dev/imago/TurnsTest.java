package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class TurnsTest {
  @Test
  void partsRunInTheOrderOfTheirNumbersOneAtATime() throws Exception {
    Turns turns = new Turns(true);
    AtomicLong numbers = new AtomicLong();
    List<Long> seen = new ArrayList<>();
    Workers.run(
        "turns",
        8,
        workers -> {
          for (long n = numbers.getAndIncrement(); n < 500; n = numbers.getAndIncrement()) {
            long number = n;
            assertThat(turns.take(number, () -> seen.add(number))).isTrue();
          }
        });
    assertThat(seen).hasSize(500).isSorted();
  }

  @Test
  void withoutOrderNobodyWaits() throws Exception {
    Turns turns = new Turns(false);
    List<Long> seen = Collections.synchronizedList(new ArrayList<>());

    assertThat(turns.take(7, () -> seen.add(7L))).isTrue();

    assertThat(seen).containsExactly(7L);
  }

  @Test
  void whoWaitsForAnAbandonedPartIsToldSo() {
    Turns turns = new Turns(true);
    CompletableFuture<Boolean> waiting =
        CompletableFuture.supplyAsync(
            () -> {
              try {
                return turns.take(1, () -> {});
              } catch (java.io.IOException e) {
                throw new AssertionError(e);
              }
            });

    turns.abandon();

    assertThat(waiting.join()).isFalse();
  }
}
