package dev.imago.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class SamplesTest {
  @Test
  void allOrdersHaveTheirTurnBeforeOneComesAgain() {
    List<String> three = List.of("a", "b", "c");
    Set<List<String>> orders = new HashSet<>();
    for (int round = 0; round < 6; round++) {
      assertThat(Samples.inTurn(three, round)).containsExactlyInAnyOrderElementsOf(three);
      orders.add(Samples.inTurn(three, round));
    }

    assertThat(orders).hasSize(6);
    assertThat(Samples.inTurn(three, 6)).isEqualTo(three);
    assertThat(Samples.inTurn(List.of("a", "b"), 0)).containsExactly("a", "b");
    assertThat(Samples.inTurn(List.of("a", "b"), 1)).containsExactly("b", "a");
  }
}
