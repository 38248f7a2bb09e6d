package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.Test;

class IdlePoolTest {
  /** Each is known by its identity. */
  private final Set<Object> made = ConcurrentHashMap.newKeySet();

  private final Set<Object> ended = ConcurrentHashMap.newKeySet();
  private final IdlePool<Object> pool = new IdlePool<>(this::make, this::end);

  private Object make() {
    Object one = new Object();
    made.add(one);
    return one;
  }

  private void end(Object one) {
    assertThat(ended.add(one)).as("ended once").isTrue();
  }

  @Test
  void whatWasGivenBackIsTakenAgain() {
    Object one = pool.take();
    pool.giveBack(one);

    assertThat(pool.take()).isSameAs(one);
    assertThat(pool.take()).isNotSameAs(one);
    assertThat(ended).isEmpty();
  }

  @Test
  void noMoreAreKeptThanThereAreProcessors() {
    int processors = Runtime.getRuntime().availableProcessors();
    List<Object> taken = new ArrayList<>();
    for (int i = 0; i < processors + 3; i++) {
      taken.add(pool.take());
    }
    taken.forEach(pool::giveBack);

    assertThat(made).hasSize(processors + 3);
    assertThat(ended).hasSize(3);
  }

  @Test
  void closingEndsTheIdleOnesAndLaterTheOnesInUse() {
    Object idle = pool.take();
    Object used = pool.take();
    pool.giveBack(idle);

    pool.close();
    pool.close();
    assertThat(ended).containsExactly(idle);
    pool.giveBack(used);
    pool.giveBack(pool.take());

    assertThat(made).hasSize(3);
    assertThat(ended).isEqualTo(made);
  }

  @Test
  void noTwoThreadsHaveTheSameOneAndAllAreEnded() throws Exception {
    Set<Object> inUse = ConcurrentHashMap.newKeySet();
    Callable<Void> work =
        () -> {
          for (int i = 0; i < 2000; i++) {
            Object one = pool.take();
            assertThat(inUse.add(one)).isTrue();
            assertThat(ended).doesNotContain(one);
            inUse.remove(one);
            pool.giveBack(one);
          }
          return null;
        };
    try (var threads = Executors.newFixedThreadPool(4)) {
      for (var result : threads.invokeAll(List.of(work, work, work, work))) {
        result.get();
      }
    }
    pool.close();

    assertThat(ended).isEqualTo(made);
  }
}
