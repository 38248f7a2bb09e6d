package dev.imago.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

class RangeLockTest {
  private final RangeLock lock = new RangeLock();

  @Test
  void sharedRangesOverlapAndExclusiveOnesOverlapNothing() throws Exception {
    try (var _ = lock.acquire(0, 100, false);
        var _ = lock.acquire(200, 300, true)) {
      lock.acquire(50, 150, false).close();
      lock.acquire(100, 200, true).close();
      assertThat(waits(99, 120, true)).isTrue();
      assertThat(waits(299, 400, false)).isTrue();
      assertThat(waits(199, 201, true)).isTrue();
    }
    lock.acquire(0, Long.MAX_VALUE, true).close();
  }

  @Test
  void whoComesLaterDoesNotOvertakeAWaiterThatItWouldKeepOut() throws Exception {
    List<String> order = Collections.synchronizedList(new ArrayList<>());
    Thread first;
    Thread second;
    try (var _ = lock.acquire(0, 100, false)) {
      first = starting(order, "exclusive", true);
      awaitRest(first);
      second = starting(order, "shared", false);
      awaitRest(second);
      lock.acquire(200, 300, true).close(); // elsewhere nobody waits
      assertThat(order).isEmpty();
    }
    first.join();
    second.join();

    assertThat(order).containsExactly("exclusive", "shared");
  }

  private Thread starting(List<String> order, String name, boolean exclusive) {
    return Thread.ofPlatform()
        .start(
            () -> {
              try (var _ = lock.acquire(0, 100, exclusive)) {
                order.add(name);
              }
            });
  }

  /** Whether acquiring has to wait; if so an interrupt does not end that. */
  private boolean waits(long start, long end, boolean exclusive) throws Exception {
    AtomicBoolean interrupted = new AtomicBoolean();
    AtomicBoolean got = new AtomicBoolean();
    Thread thread =
        Thread.ofPlatform()
            .daemon()
            .start(
                () -> {
                  try (var _ = lock.acquire(start, end, exclusive)) {
                    interrupted.set(Thread.interrupted());
                    got.set(true);
                  }
                });
    awaitRest(thread);
    if (!thread.isAlive()) {
      return false;
    }
    thread.interrupt();
    awaitRest(thread);
    return !got.get();
  }

  private static void awaitRest(Thread thread) {
    while (thread.isAlive() && thread.getState() != Thread.State.WAITING) {
      Thread.onSpinWait();
    }
  }
}
