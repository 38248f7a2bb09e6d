package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class QuarantineTest {
  private final Requests requests = new Requests("image");
  private final Quarantine quarantine = new Quarantine(requests);

  @Test
  void nothingIsReleasedBeforeItsUnlinkingIsDurable() {
    quarantine.add(7, 2);
    assertThat(quarantine.takeReleasable().isEmpty()).isTrue();
    quarantine.seal();
    assertThat(quarantine.takeReleasable().isEmpty()).isTrue();
    quarantine.unlinkDurable();
    Quarantine.Batch batch = quarantine.takeReleasable();
    assertThat(batch.runs()).containsExactly(new long[] {7, 2});
    quarantine.released(batch);
    assertThat(quarantine.clusters()).isZero();
    assertThat(quarantine.takeReleasable().isEmpty()).isTrue();
  }

  @Test
  void whatIsFreedWhileAFlushRunsWaitsForTheNext() {
    quarantine.add(7, 1);
    quarantine.seal();
    quarantine.add(9, 1);
    quarantine.unlinkDurable();
    Quarantine.Batch batch = quarantine.takeReleasable();
    assertThat(batch.runs()).containsExactly(new long[] {7, 1});
    quarantine.released(batch);
    assertThat(quarantine.needsFlush()).isTrue();
    assertThat(quarantine.clusters()).isEqualTo(1);
  }

  @Test
  void aRequestThatBeganBeforeTheUnlinkHoldsTheReleaseBackAndALaterOneDoesNot() {
    int early = requests.enter();
    quarantine.add(7, 1);
    quarantine.seal();
    quarantine.unlinkDurable();
    assertThat(quarantine.takeReleasable().isEmpty()).isTrue();
    int late = requests.enter();
    requests.leave(early);
    assertThat(quarantine.takeReleasable().isEmpty()).isFalse();
    requests.leave(late);
  }

  @Test
  void aPunchIsCancelledInWhateverListItWaits() {
    quarantine.addPunch(3);
    quarantine.addPunch(4);
    quarantine.seal();
    quarantine.cancelPunch(3);
    quarantine.unlinkDurable();
    Quarantine.Batch batch = quarantine.takeReleasable();
    assertThat(batch.punches()).containsExactly(4L);
    assertThat(quarantine.stillToPunch(batch, 4)).isTrue();
    quarantine.cancelPunch(4);
    assertThat(quarantine.stillToPunch(batch, 4)).isFalse();
  }
}
