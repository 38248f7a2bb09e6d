package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

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
