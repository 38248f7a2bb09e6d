package dev.imago.nbd;

import static dev.imago.nbd.wire.CommandType.READ;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class NbdServerTest {
  @TempDir Path folder;

  private static FaultyStorage storage() throws IOException {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(Served.SIZE, Storage.Preallocation.OFF);
    return new FaultyStorage(storage);
  }

  @Test
  void closingAnswersWhatIsUnderWayAndFlushes() throws Exception {
    FaultyStorage slow = storage();
    FaultyStorage.Pause pause = slow.pauseBefore(r -> r.call() == StorageCall.WRITEV);
    try (Served served = Served.of(Served.raw(slow));
        Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      peer.write(0, 1, 0, new byte[512]);
      pause.awaitReached();
      CompletableFuture<Void> closing = Served.closing(served.server);
      while (!served.server.stopping()) {
        Thread.onSpinWait();
      }
      assertThat(closing).isNotDone();
      pause.resume();

      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 1));
      peer.awaitHangup();
      closing.get();
      assertThat(slow.calls(StorageCall.FLUSH)).isEqualTo(1);
    }
  }

  @Test
  void closingTellsWhatCouldNotBeMadeDurable() throws Exception {
    FaultyStorage faulty = storage();
    Image image = Served.raw(faulty);
    NbdServer server =
        NbdServer.listen(
            UnixDomainSocketAddress.of(folder.resolve("s")),
            NbdServerOptions.of(NbdExport.of("", image)));
    try (Peer peer = Peer.using(server.address(), ReplyStyle.SIMPLE)) {
      peer.write(0, 1, 0, new byte[512]);
      peer.simpleReply();
    }
    faulty.failWhen(r -> r.call() == StorageCall.FLUSH);

    assertThatThrownBy(server::close).isInstanceOf(IOException.class);
    assertThat(server.counters().getConnections()).isZero();
  }

  @Test
  void clientThatDoesNotTakeItsRepliesIsCutOffInTheEnd() throws Exception {
    try (Served served = Served.of(Served.raw(), o -> o.drainTime(Duration.ofMillis(100)));
        Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      for (int i = 0; i < 4; i++) {
        peer.request(READ, 0, i, 0, 8 << 20);
      }
      served.server.close();
      assertThat(served.server.counters().getConnections()).isZero();
    }
  }

  @Test
  void clientInTheHandshakeDoesNotHoldUpTheEnd() throws Exception {
    try (Served served = Served.of(Served.raw());
        Peer peer = Peer.greeted(served.address())) {
      served.server.close();
      peer.awaitHangup();
    }
  }

  @Test
  void commandsDuringTheEndAreRefusedOrNotReadAtAll() throws Exception {
    FaultyStorage slow = storage();
    FaultyStorage.Pause pause = slow.pauseBefore(r -> r.call() == StorageCall.WRITEV);
    try (Served served = Served.of(Served.raw(slow));
        Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      peer.write(0, 1, 0, new byte[512]);
      pause.awaitReached();
      CompletableFuture<Void> closing = Served.closing(served.server);
      while (!served.server.stopping()) {
        Thread.onSpinWait();
      }
      try {
        for (int i = 2; i < 100; i++) {
          peer.write(0, i, 4096, new byte[512]);
        }
      } catch (IOException e) {
        assertThat(e).isNotNull(); // the server does not listen any more
      }
      pause.resume();
      closing.get();
      assertThat(slow.calls(StorageCall.WRITEV)).isEqualTo(1);
    }
  }

  @Test
  void nobodyIsWaitedForBeforeSomebodyCame() throws Exception {
    try (Served served = Served.of(Served.raw())) {
      CompletableFuture<Void> waiting =
          CompletableFuture.runAsync(
              () -> {
                try {
                  served.server.awaitClients();
                } catch (InterruptedException e) {
                  throw new AssertionError(e);
                }
              });
      try (Peer peer = Peer.greeted(served.address())) {
        peer.option(CommandType.DISCONNECT.code(), new byte[0]); // which is ABORT
      }
      assertThat(waiting).isNotDone();
      Peer.using(served.address(), ReplyStyle.SIMPLE).close();
      waiting.get();
    }
  }

  @Test
  void tcpPortThatIsFreeIsFound() throws Exception {
    Image image = Served.raw();
    NbdServerOptions options = NbdServerOptions.of(NbdExport.of("", image));
    InetSocketAddress any = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    try (NbdServer server = NbdServer.listen(any, options);
        Peer peer = Peer.using(server.address(), ReplyStyle.SIMPLE)) {
      peer.request(READ, 0, 1, 0, 1);
      assertThat(peer.simpleReply().error()).isZero();
      assertThatThrownBy(() -> NbdServer.listen(server.address(), options))
          .isInstanceOf(BindException.class);
      assertThat(server.counters().getReads()).isEqualTo(1);
      assertThat(server.counters().getBytesRead()).isEqualTo(1);
    }
  }

  @Test
  void socketFileOfADeadServerIsReplacedAndThatOfALivingOneIsNot() throws Exception {
    Path file = folder.resolve("s");
    NbdServerOptions options = NbdServerOptions.of(NbdExport.of("", Served.raw()));
    UnixDomainSocketAddress address = UnixDomainSocketAddress.of(file);
    try (var left = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      left.bind(address);
    }
    assertThat(file).exists();
    try (NbdServer server = NbdServer.listen(address, options)) {
      assertThat(server.address()).isEqualTo(address);
      assertThatThrownBy(() -> NbdServer.listen(address, options))
          .isInstanceOf(BindException.class);
      assertThat(file).exists();
    }
    assertThat(file).doesNotExist();
  }

  @Test
  void fileThatIsNoSocketStays() throws Exception {
    Path file = Files.writeString(folder.resolve("s"), "precious");
    NbdServerOptions options = NbdServerOptions.of(NbdExport.of("", Served.raw()));

    assertThatThrownBy(() -> NbdServer.listen(UnixDomainSocketAddress.of(file), options))
        .isInstanceOf(IOException.class);
    assertThat(file).hasContent("precious");
  }

  @Test
  void socketFileThatCannotBeTakenAwayKeepsNothingFromBeingFlushed() throws Exception {
    FaultyStorage counting = storage();
    Path file = folder.resolve("s");
    NbdServer server =
        NbdServer.listen(
            UnixDomainSocketAddress.of(file),
            NbdServerOptions.of(NbdExport.of("", Served.raw(counting))).log(new Served.Quiet()));
    try (Peer peer = Peer.using(server.address(), ReplyStyle.SIMPLE)) {
      peer.write(0, 1, 0, new byte[512]);
      peer.simpleReply();
      Files.delete(file);
      Files.createDirectories(file.resolve("in the way"));

      server.close();

      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(1);
      assertThat(server.counters().getConnections()).isZero();
    }
  }

  @Test
  void timesThatCannotBeCountedInNanosecondsAreForEver() throws Exception {
    Duration ever = Duration.ofSeconds(Long.MAX_VALUE);
    try (Served served =
            Served.of(Served.raw(), o -> o.handshakeTime(ever).idleTime(ever).drainTime(ever));
        Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      assertThat(served.server.options().idleTime().toNanos()).isPositive();
      peer.request(READ, 0, 1, 0, 1);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 1));
    }
  }

  @Test
  void changesOfAWriteThroughExportAreDurableBeforeTheyAreAnswered() throws Exception {
    FaultyStorage counting = storage();
    Image image = Served.raw(counting);
    NbdServerOptions options = NbdServerOptions.of(NbdExport.of("", image).writeThrough(true));
    try (Served served = Served.of(image, options, o -> o);
        Peer peer = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      // After a read the host's cache is known to be in use.
      peer.request(READ, 0, 0, 0, 1);
      peer.simpleReply();
      peer.receive(1);
      peer.write(0, 1, 0, new byte[512]);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 1));
      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(1);
      peer.write(0, 2, 0, new byte[5 << 20]);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 2));
      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(2);
      peer.request(CommandType.WRITE_ZEROES, 0, 3, 0, 4096);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 3));
      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(3);
      peer.write(0, 4, 0, new byte[512]);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 4));
      peer.request(CommandType.TRIM, 0, 5, 0, 4096);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 5));
      assertThat(counting.calls(StorageCall.FLUSH)).isGreaterThanOrEqualTo(4);
    }
  }

  @Test
  void imageIsStillOpenAfterwards() throws Exception {
    Image image = Served.raw();
    NbdServer.listen(
            UnixDomainSocketAddress.of(folder.resolve("s")),
            NbdServerOptions.of(NbdExport.of("", image)))
        .close();
    ByteBuffer read = ByteBuffer.allocate(1);
    image.read(read, 0);
    assertThat(read.hasRemaining()).isFalse();
  }
}
