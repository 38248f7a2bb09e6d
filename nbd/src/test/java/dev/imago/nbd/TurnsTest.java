package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.RejectedExecutionException;
import org.junit.jupiter.api.Test;

class TurnsTest {
  private final ArrayDeque<Runnable> started = new ArrayDeque<>();
  private final List<String> done = new ArrayList<>();
  private final Turns turns = new Turns(started::add, 2);
  private final Turns.Line busy = new Turns.Line();
  private final Turns.Line other = new Turns.Line();

  private void add(Turns.Line line, String name) {
    turns.add(line, () -> done.add(name));
  }

  @Test
  void clientWithManySlowRequestsDoesNotTakeEveryThread() {
    for (int i = 0; i < 64; i++) {
      add(busy, "busy " + i);
    }
    assertThat(started).hasSize(3);
    add(other, "other");
    assertThat(started).hasSize(4);

    started.removeLast().run();

    assertThat(done).containsExactly("other");
  }

  @Test
  void everyRequestIsDoneOnceAndInOrder() {
    List<String> expected = new ArrayList<>();
    for (int i = 0; i < 64; i++) {
      add(busy, "busy " + i);
      expected.add("busy " + i);
    }
    while (!started.isEmpty()) {
      started.removeFirst().run();
    }
    assertThat(done).containsExactlyInAnyOrderElementsOf(expected);
    // All are free again.
    for (int i = 0; i < 3; i++) {
      add(busy, "again");
    }
    assertThat(started).hasSize(3);
  }

  @Test
  void sharedThreadGoesToThoseWhoWaitInTurn() {
    for (int i = 0; i < 5; i++) {
      add(busy, "busy " + i);
    }
    add(other, "other 0");
    add(other, "other 1");
    add(other, "other 2");
    // The first client's own and two shared ones are at work, and the other's own.
    started.removeFirst().run();

    assertThat(done).startsWith("busy 0", "busy 3", "other 1", "busy 4", "other 2");
  }

  @Test
  void requestThatStaysAtWorkForEverHoldsUpNoSharedThread() {
    add(busy, "stuck");
    Runnable stuck = started.removeFirst();
    for (int i = 0; i < 4; i++) {
      add(busy, "busy " + i);
    }
    started.removeFirst().run();
    started.removeFirst().run();
    assertThat(done).hasSize(4);
    for (int i = 0; i < 3; i++) {
      add(other, "other");
    }
    assertThat(started).hasSize(3);
    stuck.run();
    assertThat(done).contains("stuck");
  }

  @Test
  void requestThatNoThreadCouldBeStartedForGivesItsTurnBack() {
    boolean[] refuses = {true};
    Turns few =
        new Turns(
            task -> {
              if (refuses[0]) {
                throw new RejectedExecutionException();
              }
              started.add(task);
            },
            1);
    for (int i = 0; i < 5; i++) {
      assertThatThrownBy(() -> few.add(busy, () -> done.add("refused")))
          .isInstanceOf(RejectedExecutionException.class);
    }
    refuses[0] = false;
    few.add(busy, () -> done.add("own"));
    few.add(busy, () -> done.add("shared"));
    assertThat(started).hasSize(2);
  }
}
