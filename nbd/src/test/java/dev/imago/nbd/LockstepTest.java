package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class LockstepTest {
  private static final int BLOCK = 512;

  private final Set<Thread> flushers = ConcurrentHashMap.newKeySet();
  private FaultyStorage storage;
  private Served served;
  private Peer peer;

  @BeforeEach
  void serve() throws IOException {
    MemoryStorage memory = new MemoryStorage("disk");
    memory.resize(Served.SIZE, Storage.Preallocation.OFF);
    storage = new FaultyStorage(memory);
    Image image = Served.raw(storage);
    served = Served.of(image);
    peer = Peer.using(served.address(), ReplyStyle.SIMPLE);
  }

  @AfterEach
  void end() throws IOException {
    peer.close();
    served.close();
  }

  @Test
  void isBelievedAfterSomeRequestsAndNoMoreAfterOneThatMetAnother() {
    Lockstep lockstep = new Lockstep();
    beginsAnew(lockstep);
    assertThat(lockstep.met(false)).isFalse();
    beginsAnew(lockstep);
    lockstep.broken();
    beginsAnew(lockstep);
    lockstep.handedOver();
    assertThat(lockstep.met(true)).isFalse();
    lockstep.answered();
    beginsAnew(lockstep);
  }

  private static void beginsAnew(Lockstep lockstep) {
    for (int i = 1; i < Lockstep.ENOUGH; i++) {
      assertThat(lockstep.met(true)).isFalse();
    }
    assertThat(lockstep.met(true)).isTrue();
    assertThat(lockstep.met(true)).isTrue();
  }

  @Test
  void clientThatWaitsForEachAnswerHasItsFlushesDoneByOneThread() throws Exception {
    waitForEach(Lockstep.ENOUGH);
    noteFlushers();
    waitForEach(Lockstep.ENOUGH);

    assertThat(flushers).hasSize(1);
    assertThat(flushers.iterator().next().getName()).startsWith("imago-nbd-client-");
  }

  @Test
  void clientThatWaitsNoLongerIsHeldUpByOneRequest() throws Exception {
    waitForEach(Lockstep.ENOUGH);

    FaultyStorage.Pause first = flushThatWaits(1);
    first.awaitReached();
    peer.request(CommandType.READ, 0, 2, 0, BLOCK);
    first.resume();
    Set<Long> answers = Set.of(answer(), answer());
    FaultyStorage.Pause second = flushThatWaits(3);
    second.awaitReached();
    peer.request(CommandType.READ, 0, 2, 0, BLOCK);
    long overtaking = answer();
    second.resume();

    assertThat(answers).containsExactlyInAnyOrder(1L, 2L);
    assertThat(overtaking).isEqualTo(2);
    assertThat(answer()).isEqualTo(3);
  }

  @Test
  void whatFailsInTheConnectionsOwnThreadIsToldAndItGoesOn() throws Exception {
    waitForEach(Lockstep.ENOUGH);
    storage.failWhen(r -> r.call() == StorageCall.WRITEV || r.call() == StorageCall.READ);

    peer.write(CommandType.FUA, 1, 0, new byte[BLOCK]);
    assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(NbdError.EIO.code(), 1));
    peer.request(CommandType.READ, 0, 2, 0, BLOCK);
    assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(NbdError.EIO.code(), 2));
    storage.heal();
    waitForEach(1);
  }

  @Test
  void clientThatLeavesWhileItsFlushIsDoneHarmsNobody() throws Exception {
    waitForEach(Lockstep.ENOUGH);
    FaultyStorage.Pause pause = flushThatWaits(1);
    pause.awaitReached();
    peer.close();
    pause.resume();

    peer = Peer.using(served.address(), ReplyStyle.SIMPLE);
    waitForEach(1);
  }

  /** Asks for a flush that has something to do and stops before it does. */
  private FaultyStorage.Pause flushThatWaits(long cookie) throws IOException {
    peer.write(0, 7, 0, new byte[BLOCK]);
    assertThat(answer()).isEqualTo(7);
    FaultyStorage.Pause pause = storage.pauseBefore(r -> r.call() == StorageCall.FLUSH);
    peer.request(CommandType.FLUSH, 0, cookie, 0, 0);
    return pause;
  }

  /** Writes with FUA, reads, and flushes. */
  private void waitForEach(int times) throws IOException {
    for (int i = 0; i < times; i++) {
      byte[] data = {(byte) i, (byte) (i >> 8)};
      peer.write(CommandType.FUA, 7, 0, data);
      assertThat(answer()).isEqualTo(7);
      peer.request(CommandType.READ, 0, 8, 0, data.length);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 8));
      assertThat(peer.receive(data.length).array()).isEqualTo(data);
      peer.request(CommandType.FLUSH, 0, 9, 0, 0);
      assertThat(answer()).isEqualTo(9);
    }
  }

  /** The cookie of the next answer; 2 is a READ's. */
  private long answer() throws IOException {
    SimpleReply reply = peer.simpleReply();
    assertThat(reply.error()).isZero();
    if (reply.cookie() == 2) {
      peer.receive(BLOCK);
    }
    return reply.cookie();
  }

  private void noteFlushers() {
    // Fails nothing.
    storage.failWhen(
        r -> {
          if (r.call() == StorageCall.FLUSH) {
            flushers.add(Thread.currentThread());
          }
          return false;
        });
  }
}
