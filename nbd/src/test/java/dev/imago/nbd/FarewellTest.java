package dev.imago.nbd;

import static dev.imago.nbd.wire.CommandType.READ;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyHeader;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.Closeable;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A client hears all that it was told before a connection ends, whatever it has sent since. */
@Timeout(60)
class FarewellTest {
  /** More than the sockets take: its end is still with the server when the server is done. */
  private static final int MUCH = 6 << 20;

  /** More than the server receives at once: some of it is unread. */
  private static final byte[] FLOOD = new byte[Incoming.BYTES + (100 << 10)];

  /** A server at a TCP port. */
  private record Tcp(Image image, NbdServer server) implements Closeable {
    static Tcp of(Storage storage, UnaryOperator<NbdServerOptions> changes) throws IOException {
      Image image = Served.raw(storage);
      NbdServerOptions options =
          NbdServerOptions.of(NbdExport.of("", image)).log(new Served.Quiet());
      InetSocketAddress any = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
      return new Tcp(image, NbdServer.listen(any, changes.apply(options)));
    }

    @Override
    public void close() throws IOException {
      server.close();
      image.close();
    }
  }

  private static FaultyStorage storage() throws IOException {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(Served.SIZE, Storage.Preallocation.OFF);
    return new FaultyStorage(storage);
  }

  /** A client that has room for little of what it is sent. */
  private static Peer slowPeer(NbdServer server) throws IOException {
    SocketChannel channel = SocketChannel.open();
    channel.setOption(StandardSocketOptions.SO_RCVBUF, 4096);
    channel.connect(server.address());
    Peer peer = Peer.over(channel);
    peer.greet();
    peer.go("");
    return peer;
  }

  /** It hears the whole reply and then the end, not of a reset. */
  private static void hearsAll(Peer peer) throws IOException {
    assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 1));
    peer.receive(MUCH);
    assertThat(peer.channel.read(ByteBuffer.allocate(1))).isEqualTo(-1);
  }

  @Test
  void answersAreNotLostToAResetWhenTheProtocolWasBroken() throws Exception {
    try (Tcp tcp = Tcp.of(storage(), o -> o);
        Peer peer = slowPeer(tcp.server)) {
      peer.request(READ, 0, 1, 0, MUCH);
      peer.send(ByteBuffer.wrap(FLOOD)); // zeroes are no request
      hearsAll(peer);
      assertThat(tcp.server.counters().getConnectionsDropped()).isEqualTo(1);
    }
  }

  @Test
  void answersAreNotLostToAResetWhenTheClientSendsMoreBehindItsLast() throws Exception {
    try (Tcp tcp = Tcp.of(storage(), o -> o);
        Peer peer = slowPeer(tcp.server)) {
      peer.request(READ, 0, 1, 0, MUCH);
      peer.request(CommandType.DISCONNECT, 0, 0, 0, 0);
      peer.send(ByteBuffer.wrap(FLOOD));
      hearsAll(peer);
    }
  }

  @Test
  void answerToAbortIsNotLostToAReset() throws Exception {
    try (Tcp tcp = Tcp.of(storage(), o -> o);
        Peer peer = Peer.greeted(tcp.server.address())) {
      ByteBuffer both = ByteBuffer.allocate(OptionHeader.BYTES + FLOOD.length);
      new OptionHeader(OptionType.ABORT.code(), 0).write(both);
      peer.send(both.position(0));
      assertThat(OptionReplyHeader.parse(peer.receive(OptionReplyHeader.BYTES)))
          .isEqualTo(new OptionReplyHeader(OptionType.ABORT.code(), OptionReplyType.ACK.code(), 0));
      assertThat(peer.channel.read(ByteBuffer.allocate(1))).isEqualTo(-1);
    }
  }

  @Test
  void answersAreNotLostToAResetWhenTheServerIsClosed() throws Exception {
    FaultyStorage slow = storage();
    FaultyStorage.Pause pause = slow.pauseBefore(r -> r.call() == StorageCall.READ);
    try (Tcp tcp = Tcp.of(slow, o -> o);
        Peer peer = slowPeer(tcp.server)) {
      peer.request(READ, 0, 1, 0, MUCH);
      pause.awaitReached();
      CompletableFuture<Void> closing = Served.closing(tcp.server);
      while (!tcp.server.stopping()) {
        Thread.onSpinWait();
      }
      for (int i = 2; i < 10; i++) {
        peer.request(READ, 0, i, 0, 512);
        assertThat(peer.simpleReply())
            .as("what comes during the end is refused, not left unread")
            .isEqualTo(new SimpleReply(NbdError.ESHUTDOWN.code(), i));
      }
      pause.resume();
      hearsAll(peer);
      peer.close();
      closing.get();
    }
  }

  @Test
  void clientThatWaitsForNothingIsToldOfTheEnd() throws Exception {
    try (Tcp tcp = Tcp.of(storage(), o -> o);
        Peer idle = slowPeer(tcp.server);
        Peer early = Peer.greeted(tcp.server.address());
        Peer halfway = slowPeer(tcp.server)) {
      halfway.request(CommandType.WRITE, 0, 1, 0, 512);
      CompletableFuture<Void> closing = Served.closing(tcp.server);
      for (Peer peer : new Peer[] {idle, early, halfway}) {
        assertThat(peer.channel.read(ByteBuffer.allocate(1))).isEqualTo(-1);
        peer.close();
      }
      closing.get();
    }
  }

  @Test
  void clientThatNeitherLeavesNorStopsSendingKeepsItsPlaceForAMomentOnly() throws Exception {
    try (Tcp tcp = Tcp.of(storage(), o -> o.connections(1));
        Peer deaf = slowPeer(tcp.server);
        Peer silent = Peer.connect(tcp.server.address());
        Peer next = Peer.connect(tcp.server.address())) {
      AtomicBoolean cut = new AtomicBoolean();
      Thread flood =
          Thread.ofPlatform()
              .start(
                  () -> {
                    try {
                      while (true) {
                        deaf.send(ByteBuffer.wrap(FLOOD));
                      }
                    } catch (IOException e) {
                      cut.set(true);
                    }
                  });
      silent.receive(18); // its turn: the flood is over
      flood.join();
      assertThat(cut).isTrue();
      silent.send(Request.BYTES, out -> out.putInt(-1)); // client flags that there are not
      next.receive(18);
    }
  }
}
