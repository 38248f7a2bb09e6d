package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

class RequestsTest {
  private final Requests requests = new Requests("image");

  @Test
  void aPhaseIsDrainedWhenTheRequestsThatBeganInItHaveEnded() {
    int early = requests.enter();
    requests.flip();
    int late = requests.enter();
    assertThat(requests.drained()).isFalse();
    requests.leave(early);
    assertThat(requests.drained()).isTrue();
    requests.leave(late);
  }

  @Test
  void exclusiveWaitsForRequestsUnderWayAndHoldsNewOnesBack() throws Exception {
    int token = requests.enter();
    AtomicBoolean left = new AtomicBoolean();
    CountDownLatch exclusive = new CountDownLatch(1);
    CountDownLatch mayReopen = new CountDownLatch(1);
    Thread owner =
        Thread.ofPlatform()
            .start(
                () -> {
                  requests.exclusive();
                  assertThat(left).isTrue();
                  exclusive.countDown();
                  awaitQuietly(mayReopen);
                  left.set(false);
                  requests.reopen();
                });
    left.set(true);
    requests.leave(token);
    exclusive.await();
    Thread guest =
        Thread.ofPlatform()
            .start(
                () -> {
                  int mine = requests.enter();
                  assertThat(left).isFalse();
                  requests.leave(mine);
                });
    mayReopen.countDown();
    guest.join();
    owner.join();
  }

  @Test
  void anInterruptNeitherEndsTheWaitNorIsLost() throws Exception {
    int token = requests.enter();
    AtomicBoolean interruptedAfterwards = new AtomicBoolean();
    Thread owner =
        Thread.ofPlatform()
            .start(
                () -> {
                  Thread.currentThread().interrupt();
                  requests.exclusive();
                  interruptedAfterwards.set(Thread.currentThread().isInterrupted());
                  requests.reopen();
                });
    requests.leave(token);
    owner.join();
    assertThat(interruptedAfterwards).isTrue();
    requests.leave(requests.enter());
  }

  @Test
  void afterClosingEveryRequestIsRefusedAndASecondCloseDoesNothing() {
    assertThat(requests.close()).isTrue();
    assertThat(requests.close()).isFalse();
    assertThatThrownBy(requests::enter)
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("image: the image is closed");
  }

  private static void awaitQuietly(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }
}
