package dev.imago.nbd;

import static dev.imago.nbd.wire.CommandType.READ;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Whatever a client does, the server answers as the protocol says or ends that connection; another
 * client goes on as if nothing were.
 */
@Timeout(60)
class HostileClientTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");

  private Served served;

  @BeforeEach
  void serve() throws Exception {
    served = Served.of(Served.raw());
  }

  /** Its own server: on a busy machine an honest client may need more time than this. */
  private static Served impatient() throws Exception {
    return Served.of(Served.raw(), o -> o.handshakeTime(Duration.ofMillis(300)));
  }

  /** Others are served after, and during, what a test did. */
  @AfterEach
  void othersAreServed() throws Exception {
    try (Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      peer.request(READ, 0, 1, 0, 512);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 1));
      peer.receive(512);
    }
    served.close();
  }

  @Test
  void clientThatSaysNothingIsCutOff() throws Exception {
    try (Served impatient = impatient();
        Peer peer = Peer.connect(impatient.address())) {
      peer.awaitHangup();
      assertThat(impatient.server.counters().getConnectionsDropped()).isEqualTo(1);
    }
  }

  @Test
  void optionsWithoutEndAreCutOff() throws Exception {
    try (Served impatient = impatient();
        Peer peer = Peer.greeted(impatient.address())) {
      assertThatThrownBy(
              () -> {
                while (true) {
                  peer.option(OptionType.LIST.code(), new byte[0]);
                }
              })
          .isInstanceOf(IOException.class);
    }
  }

  @Test
  void optionThatComesByteByByteIsCutOff() throws Exception {
    try (Served impatient = impatient();
        Peer peer = Peer.greeted(impatient.address())) {
      peer.send(OptionHeader.BYTES, new OptionHeader(OptionType.GO.code(), 60_000)::write);
      assertThatThrownBy(
              () -> {
                while (true) {
                  peer.send(ByteBuffer.allocate(1));
                  Thread.onSpinWait();
                }
              })
          .isInstanceOf(IOException.class);
    }
  }

  @Test
  void thousandsOfConnectionsComeAndGo() throws Exception {
    int many = LONG ? 10_000 : 1000;
    for (int i = 0; i < many; i++) {
      try (Peer peer = Peer.connect(served.address())) {
        if (i % 3 == 1) {
          peer.send(ByteBuffer.wrap(new byte[] {0, 0, 0}));
        }
      }
    }
  }

  @Test
  void moreClientsThanAllowedWaitAndAreServedInTurn() throws Exception {
    try (Served few = Served.of(Served.raw(), o -> o.connections(2));
        Peer one = Peer.using(few.address(), ReplyStyle.SIMPLE)) {
      Peer two = Peer.using(few.address(), ReplyStyle.SIMPLE);
      try (Peer three = Peer.connect(few.address())) {
        one.request(READ, 0, 1, 0, 1);
        assertThat(one.simpleReply()).isEqualTo(new SimpleReply(0, 1));
        assertThat(few.server.counters().getConnections()).isEqualTo(2);
        two.close();
        three.receive(18);
      }
    }
  }

  @Test
  void requestWithAWrongMagicNumberEndsTheConnection() throws Exception {
    try (Peer peer = Peer.using(served.address(), ReplyStyle.STRUCTURED)) {
      peer.send(ByteBuffer.allocate(Request.BYTES));
      peer.awaitHangup();
    }
  }

  @Test
  void writeThatIsTooLongEndsTheConnection() throws Exception {
    try (Peer peer = Peer.using(served.address(), ReplyStyle.STRUCTURED)) {
      peer.request(CommandType.WRITE, 0, 1, 0, 0xffff_ffffL);
      peer.awaitHangup();
    }
  }

  @Test
  void readThatIsTooLongIsRefused() throws Exception {
    MemoryStorage storage = new MemoryStorage("large");
    storage.resize(1L << 40, Storage.Preallocation.OFF);
    try (Served large = Served.of(Served.raw(storage));
        Peer peer = Peer.using(large.address(), ReplyStyle.STRUCTURED)) {
      peer.request(READ, 0, 1, 0, (32 << 20) + 1);
      assertThat(((Chunk.Failed) peer.pieces(1).getFirst()).error())
          .isEqualTo(NbdError.EINVAL.code());
    }
  }

  @Test
  void clientThatLeavesInTheMiddleOfItsDataHarmsNobody() throws Exception {
    try (Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      peer.request(CommandType.WRITE, 0, 1, 0, 1 << 20);
      peer.send(ByteBuffer.allocate(1000));
    }
    try (Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      peer.request(CommandType.WRITE, 0, 1, 0, 8 << 20);
      peer.send(ByteBuffer.allocate(5 << 20));
    }
  }

  @Test
  void halfClosedClientGetsWhatItAskedFor() throws Exception {
    try (Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      peer.request(READ, 0, 1, 0, 100);
      peer.request(READ, 0, 2, 0, 6 << 20);
      peer.channel.shutdownOutput();
      assertThat(peer.simpleReply().cookie()).isEqualTo(1);
      peer.receive(100);
      assertThat(peer.simpleReply().cookie()).isEqualTo(2);
      peer.receive(6 << 20);
      assertThatThrownBy(() -> peer.receive(1)).isInstanceOf(EOFException.class);
    }
  }

  @Test
  void clientsThatDoNotReadTheirRepliesHoldUpNobodyElse() throws Exception {
    // More of them than the pool has threads.
    List<Peer> deaf = new ArrayList<>();
    try (Served small = Served.of(Served.raw(), o -> o.threads(2))) {
      for (int i = 0; i < 6; i++) {
        Peer peer = Peer.using(small.address(), ReplyStyle.SIMPLE);
        for (int n = 0; n < 10; n++) {
          peer.request(READ, 0, n, 0, 4 << 20);
        }
        deaf.add(peer);
      }
      try (Peer peer = Peer.using(small.address(), ReplyStyle.SIMPLE)) {
        peer.request(READ, 0, 1, 0, 6 << 20);
        assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 1));
        peer.receive(6 << 20);
        peer.request(CommandType.FLUSH, 0, 2, 0, 0);
        assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 2));
      }
      for (Peer peer : deaf) {
        peer.close();
      }
    }
  }

  @Test
  void requestsBeyondTheLimitAreNotReadBeforeOthersAreAnswered() throws Exception {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(Served.SIZE, Storage.Preallocation.OFF);
    FaultyStorage slow = new FaultyStorage(storage);
    FaultyStorage.Pause pause =
        slow.pauseBefore(r -> r.call() == StorageCall.READ && r.touches(0, 512));
    try (Served held = Served.of(Served.raw(slow), o -> o.threads(1));
        Peer peer = Peer.using(held.address(), ReplyStyle.SIMPLE)) {
      int many = 3 * NbdServerOptions.REQUESTS;
      for (int i = 0; i < many; i++) {
        peer.request(READ, 0, i, 0, 512);
      }
      pause.awaitReached();
      pause.resume();
      slow.heal();
      for (int i = 0; i < many; i++) {
        assertThat(peer.simpleReply().error()).isZero();
        peer.receive(512);
      }
    }
  }

  @Test
  void idleClientIsCutOffWhereThatIsAskedFor() throws Exception {
    try (Served strict = Served.of(Served.raw(), o -> o.idleTime(Duration.ofMillis(300)));
        Peer peer = Peer.using(strict.address(), ReplyStyle.SIMPLE)) {
      peer.awaitHangup();
    }
  }

  @Test
  void answersAreNotHeldBackWhileTheDataOfARefusedWriteComeIn() throws Exception {
    try (Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      ByteBuffer both = ByteBuffer.allocate(2 * Request.BYTES);
      new Request(0, 99, 1, 0, 0).write(both);
      new Request(0, CommandType.WRITE.code(), 2, Served.SIZE, 1 << 20).write(both);
      peer.send(both.flip());

      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(NbdError.EINVAL.code(), 1));
      peer.send(ByteBuffer.allocate(1 << 20));
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(NbdError.ENOSPC.code(), 2));
    }
  }

  @Test
  void namesOfMoreContextsThanWereChosenAreRefusedUnread() throws Exception {
    try (Served extended = Served.of(Served.raw(), o -> o.extendedHeaders(true));
        Peer peer = Peer.greeted(extended.address())) {
      peer.agreeOn(ReplyStyle.EXTENDED);
      peer.contexts(OptionType.SET_META_CONTEXT, "", MetaContext.ALLOCATION);
      peer.go("");
      peer.extended(CommandType.BLOCK_STATUS, CommandType.PAYLOAD_LEN, 1, 0, 16);
      peer.send(ByteBuffer.allocate(16));
      assertThat(peer.extendedPiece().chunk())
          .isEqualTo(
              new Chunk.Failed(
                  NbdError.EINVAL.code(), "the payload names more contexts than were chosen", -1));
    }
  }

  @Test
  void requestThatEndsInAnErrorOfTheMachineEndsItsConnection() throws Exception {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(Served.SIZE, Storage.Preallocation.OFF);
    FaultyStorage broken = new FaultyStorage(storage);
    try (Served held = Served.of(Served.raw(broken));
        Peer peer = Peer.using(held.address(), ReplyStyle.SIMPLE)) {
      broken.failWhen(
          r -> {
            throw new StackOverflowError();
          });
      peer.request(READ, 0, 1, 0, 512);
      peer.awaitHangup();
      broken.heal();
    }
  }

  @Test
  void dataOfAWriteWhoseClientHasGoneIsGivenBack() throws Exception {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(Served.SIZE, Storage.Preallocation.OFF);
    FaultyStorage slow = new FaultyStorage(storage);
    FaultyStorage.Pause first = slow.pauseBefore(r -> r.call() == StorageCall.READ);
    FaultyStorage.Pause second = slow.pauseBefore(r -> r.call() == StorageCall.READ);
    try (Served held = Served.of(Served.raw(slow), o -> o.threads(1))) {
      try (Peer peer = Peer.using(held.address(), ReplyStyle.SIMPLE)) {
        int reads = NbdServerOptions.REQUESTS;
        ByteBuffer burst = ByteBuffer.allocate((reads + 2) * Request.BYTES + 200_000);
        for (int i = 0; i < reads; i++) {
          new Request(0, READ.code(), i, 0, 512).write(burst);
        }
        new Request(0, 99, 98, 0, 0).write(burst);
        new Request(CommandType.FUA, CommandType.WRITE.code(), 99, 0, 200_000).write(burst);
        peer.send(burst.position(burst.capacity()).flip());
        // Of a client that is known to have gone no READ would be done at all.
        first.awaitReached();
      }
      first.resume();
      second.resume();
      while (held.server.counters().getConnections() > 0) {
        Thread.onSpinWait();
      }
      // What the connection had, and the data.
      assertThat(held.server.payloads().idleBytes())
          .isGreaterThanOrEqualTo(
              Payloads.capacity(Incoming.BYTES)
                  + Payloads.capacity(Transmission.BATCH_ROOM)
                  + Payloads.capacity(200_000));
    }
  }

  @Test
  void clientThatTakesNoneOfItsRepliesIsCutOffWhereIdleOnesAre() throws Exception {
    try (Served strict = Served.of(Served.raw(), o -> o.idleTime(Duration.ofMillis(300)));
        Peer peer = Peer.using(strict.address(), ReplyStyle.SIMPLE)) {
      for (int i = 0; i < 4; i++) {
        peer.request(READ, 0, i, 0, 4 << 20);
      }
      while (strict.server.counters().getConnections() > 0) {
        Thread.onSpinWait();
      }
      assertThat(strict.server.counters().getConnectionsDropped()).isEqualTo(1);
    }
  }

  @Test
  void randomBytesAreNeverMoreThanALostConnection() throws Exception {
    Random random = new Random(20261127);
    for (int i = 0; i < (LONG ? 2000 : 100); i++) {
      byte[] bytes = new byte[1 + random.nextInt(200)];
      random.nextBytes(bytes);
      boolean early = random.nextBoolean();
      try (Peer peer =
          early
              ? Peer.greeted(served.address())
              : Peer.using(served.address(), ReplyStyle.STRUCTURED)) {
        if (early) {
          // An option with anything in it, so that more than its magic number is looked at.
          peer.sendOption(random.nextInt(13), bytes);
        } else {
          Request request =
              new Request(
                  random.nextInt(64), random.nextInt(9), i, random.nextLong(), random.nextInt(99));
          peer.send(Request.BYTES, request::write);
        }
        sendAndLeave(peer, bytes);
      }
    }
  }

  private static void sendAndLeave(Peer peer, byte[] bytes) {
    try {
      peer.send(ByteBuffer.wrap(bytes));
      peer.channel.shutdownOutput();
      peer.awaitHangup();
    } catch (IOException e) {
      assertThat(e).isNotNull(); // it has hung up already
    }
  }
}
