package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.nbd.ScriptedServer.Peer;
import dev.imago.nbd.ScriptedServer.Script;
import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.Request;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

class LostConnectionTest {
  private static final int SIZE = 1 << 20;

  private static final NbdClientOptions OPTIONS = NbdClientOptions.defaults().withConnections(1);

  private static final Script GOOD =
      peer -> {
        peer.open(SIZE, ScriptedServer.ALL);
        peer.serveAll((byte) 9);
      };

  /** Answers well so many requests, reads some more, and hangs up. */
  private static Script hangsUpAfter(int answered, int read) {
    return peer -> {
      peer.open(SIZE, ScriptedServer.ALL);
      for (int i = 0; i < answered; i++) {
        peer.serve(peer.request(), (byte) 7);
      }
      for (int i = 0; i < read; i++) {
        Request request = peer.request();
        if (request.type() == CommandType.WRITE.code()) {
          peer.payload(request);
        }
      }
    };
  }

  private static byte read(NbdClient client) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(1);
    client.read(bytes, 0);
    return bytes.get(0);
  }

  private static void write(NbdClient client, int value, boolean fua) throws IOException {
    client.write(new ByteBuffer[] {ByteBuffer.wrap(new byte[] {(byte) value})}, value, fua);
  }

  private static <T> FutureTask<T> start(Callable<T> work) {
    FutureTask<T> task = new FutureTask<>(work);
    Thread.ofPlatform().daemon().start(task);
    return task;
  }

  @Test
  void aReadThatWasNotAnsweredIsSentAgain() throws Exception {
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(1, 1), GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      assertThat(read(client)).isEqualTo((byte) 7);
      assertThat(read(client)).isEqualTo((byte) 9);
    }
  }

  @Test
  void whatWasNotAnsweredIsSentAgainInTheSameOrderBeforeAnythingElse() throws Exception {
    List<Long> first = Collections.synchronizedList(new ArrayList<>());
    List<Long> second = Collections.synchronizedList(new ArrayList<>());
    int requests = 8;
    Script silent =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          for (int i = 0; i < requests; i++) {
            first.add(take(peer));
          }
        };
    Script recording =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          while (true) {
            Request request = peer.request();
            second.add(request.offset());
            peer.serve(request, (byte) 0);
          }
        };
    try (ScriptedServer server = new ScriptedServer(silent, recording);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      List<FutureTask<@Nullable Void>> writers = new ArrayList<>();
      for (int i = 0; i < requests; i++) {
        int value = i;
        writers.add(
            start(
                () -> {
                  write(client, value, false);
                  return null;
                }));
      }
      for (FutureTask<@Nullable Void> writer : writers) {
        writer.get();
      }
    }
    assertThat(first).hasSize(requests);
    assertThat(second).isEqualTo(first);
  }

  private static long take(Peer peer) throws IOException {
    Request request = peer.request();
    peer.payload(request);
    return request.offset();
  }

  @Test
  void afterAChangeThatNoFlushCoveredAFlushFailsForEver() throws Exception {
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(1, 0), GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      write(client, 1, false);
      assertThat(read(client)).isEqualTo((byte) 9);
      for (int i = 0; i < 2; i++) {
        assertThatThrownBy(client::flush)
            .isInstanceOf(NbdException.class)
            .hasMessageStartingWith(client.name() + ": the connection was lost (")
            .hasMessageEndingWith(") after changes that no flush had covered: they may be lost");
      }
      write(client, 2, false);
      assertThat(read(client)).isEqualTo((byte) 9);
    }
  }

  @Test
  void aFlushThatWasUnderWayFailsToo() throws Exception {
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(1, 1), GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      write(client, 1, false);
      assertThatThrownBy(client::flush).hasMessageContaining("they may be lost");
    }
  }

  @Test
  void aServerThatCameLaterDoesNotVouchForWhatTheOneBeforeHasAnswered() throws Exception {
    CountDownLatch held = new CountDownLatch(1);
    Script first =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          peer.serve(peer.request(), (byte) 7);
          peer.request();
          held.countDown();
          assertThat(peer.request().type()).isEqualTo(CommandType.FLUSH.code());
        };
    try (ScriptedServer server = new ScriptedServer(first, GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS.withConnections(2))) {
      write(client, 1, false);
      FutureTask<Byte> reading = start(() -> read(client));
      held.await();
      assertThatThrownBy(client::flush).hasMessageContaining("they may be lost");
      assertThat(reading.get()).isEqualTo((byte) 9);
    }
  }

  @Test
  void whatWasFlushedOrWrittenThroughIsNotMissed() throws Exception {
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(3, 1), GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      write(client, 1, false);
      client.flush();
      write(client, 2, true);
      write(client, 3, false);
      client.flush();
    }
  }

  @Test
  void aFlushWithNothingToVouchForIsSentAgain() throws Exception {
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(0, 1), GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      client.flush();
    }
  }

  @Test
  void aServerThatIsShuttingDownIsWaitedFor() throws Exception {
    Script simply =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL, false);
          peer.simple(peer.request(), NbdError.ESHUTDOWN.code());
          peer.request();
        };
    Script inChunks =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          peer.chunk(peer.request(), true, new Chunk.Failed(NbdError.ESHUTDOWN.code(), "bye", -1));
          peer.request();
        };
    try (ScriptedServer server = new ScriptedServer(inChunks, simply, GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      assertThat(read(client)).isEqualTo((byte) 9);
    }
  }

  @Test
  void nothingIsSentBehindHalfARequest() throws Exception {
    Script half =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          Request request = peer.request();
          assertThat(peer.payload(request).length).isLessThan((int) request.length());
        };
    ByteBuffer[] srcs = new ByteBuffer[3000]; // more than go into one call of the system
    Arrays.setAll(srcs, _ -> ByteBuffer.allocateDirect(1));
    Thread.ofPlatform()
        .start(() -> srcs[srcs.length - 1] = Arena.ofConfined().allocate(1).asByteBuffer())
        .join();
    try (ScriptedServer server = new ScriptedServer(half, GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      assertThatThrownBy(() -> client.write(srcs, 0, false))
          .isInstanceOf(NbdException.class)
          .hasRootCauseInstanceOf(WrongThreadException.class);
      assertThat(read(client)).isEqualTo((byte) 9);
    }
  }

  @Test
  void halfAReplyIsForgotten() throws Exception {
    Script half =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          Request request = peer.request();
          peer.chunkHex(request, false, 1, "0000000000000000 0707");
          peer.chunkHex(request, false, 0x8001, "00000005 0000");
          peer.sendHex("668e33ef 0001");
        };
    try (ScriptedServer server = new ScriptedServer(half, GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      ByteBuffer bytes = ByteBuffer.allocate(4);
      client.read(bytes, 0);
      assertThat(bytes.array()).containsExactly(9, 9, 9, 9);
    }
  }

  @Test
  void aServerThatDoesNotComeBackIsGivenUp() throws Exception {
    Script gone = peer -> {};
    NbdClientOptions options = OPTIONS.withRetry(Duration.ofSeconds(2));
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(0, 1), gone);
        NbdClient client = NbdClient.connect(server.uri(), options)) {
      assertThatThrownBy(() -> read(client))
          .isInstanceOf(NbdException.class)
          .hasMessage(
              "%s: connection lost: the server has closed the connection; since then: The server"
                  + " has closed the connection without a word",
              client.name());
    }
  }

  @Test
  void withoutRetryTheFirstLossIsTheLast() throws Exception {
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(0, 1), GOOD);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS.withRetry(Duration.ZERO))) {
      assertThatThrownBy(() -> read(client))
          .hasMessage("%s: connection lost: the server has closed the connection", client.name());
    }
  }

  @Test
  void aRequestThatKillsTheServerEachTimeIsGivenUp() throws Exception {
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(0, 1));
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      assertThatThrownBy(() -> read(client))
          .hasMessageStartingWith(
              client.name() + ": READ was sent 5 times and never answered; each time");
    }
  }

  @Test
  void anExportThatHasChangedIsAnother() throws Exception {
    Script longer =
        peer -> {
          peer.open(2 * SIZE, ScriptedServer.ALL);
          peer.serveAll((byte) 9);
        };
    NbdClientOptions options = OPTIONS.withRetry(Duration.ofSeconds(2));
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(0, 1), longer);
        NbdClient client = NbdClient.connect(server.uri(), options)) {
      assertThatThrownBy(() -> read(client))
          .hasMessageEndingWith(
              "since then: the export is not what it was: its size or its abilities changed");
    }
  }

  @Test
  void oneMoreConnectionThatTheServerDoesNotWantIsDoneWithout() throws Exception {
    CountDownLatch both = new CountDownLatch(2);
    Script slow =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          List<Request> waiting = new ArrayList<>();
          for (int i = 0; i < 2; i++) {
            waiting.add(peer.request());
            both.countDown();
          }
          for (Request request : waiting.reversed()) {
            peer.serve(request, (byte) request.offset());
          }
          peer.serveAll((byte) 0);
        };
    try (ScriptedServer server = new ScriptedServer(slow, peer -> {});
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS.withConnections(4))) {
      List<FutureTask<ByteBuffer>> readers = new ArrayList<>();
      for (int i = 1; i <= 2; i++) {
        int offset = i;
        readers.add(
            start(
                () -> {
                  ByteBuffer bytes = ByteBuffer.allocate(1);
                  client.read(bytes, offset);
                  return bytes;
                }));
      }
      both.await();
      assertThat(readers.get(0).get().get(0)).isEqualTo((byte) 1);
      assertThat(readers.get(1).get().get(0)).isEqualTo((byte) 2);
    }
  }

  @Test
  void anInterruptEndsNothing() throws Exception {
    CountDownLatch asked = new CountDownLatch(1);
    CountDownLatch interrupted = new CountDownLatch(1);
    Script waiting =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          Request request = peer.request();
          asked.countDown();
          interrupted.await();
          peer.serve(request, (byte) 5);
          peer.serveAll((byte) 6);
        };
    try (ScriptedServer server = new ScriptedServer(waiting);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      FutureTask<Byte> reading = new FutureTask<>(() -> read(client));
      FutureTask<Boolean> status =
          new FutureTask<>(
              () -> {
                reading.run();
                return Thread.interrupted();
              });
      Thread thread = Thread.ofPlatform().daemon().start(status);
      asked.await();
      thread.interrupt();
      interrupted.countDown();
      assertThat(reading.get()).isEqualTo((byte) 5);
      assertThat(status.get()).isTrue();
      assertThat(read(client)).isEqualTo((byte) 6);
    }
  }

  @Test
  void aConnectionThatIsMadeWhileTheClientIsClosedIsClosed() throws Exception {
    CountDownLatch dialled = new CountDownLatch(1);
    CountDownLatch closed = new CountDownLatch(1);
    Script late =
        peer -> {
          dialled.countDown();
          closed.await();
          peer.open(SIZE, ScriptedServer.ALL);
          peer.serveAll((byte) 9);
        };
    try (ScriptedServer server = new ScriptedServer(hangsUpAfter(0, 1), late)) {
      NbdClient client = NbdClient.connect(server.uri(), OPTIONS);
      FutureTask<Byte> reading = start(() -> read(client));
      dialled.await();
      client.close();
      closed.countDown();
      assertThatThrownBy(reading::get).hasMessageContaining("closed");
    }
  }

  @Test
  void closingEndsWhoWaits() throws Exception {
    CountDownLatch asked = new CountDownLatch(1);
    Script silent =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          peer.request();
          asked.countDown();
          peer.request();
        };
    try (ScriptedServer server = new ScriptedServer(silent)) {
      NbdClient client = NbdClient.connect(server.uri(), OPTIONS);
      var reading = start(() -> read(client));
      asked.await();
      client.close();
      assertThatThrownBy(reading::get).hasMessageContaining("closed");
      assertThatThrownBy(() -> read(client)).isInstanceOf(IllegalStateException.class);
    }
  }
}
