package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.nbd.ScriptedServer.Script;
import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.ChunkHeader;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.storage.StorageIoException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a server must not say once a client uses an export, and what it may. */
class HostileServerTest {
  private static final int SIZE = 1 << 20;
  private static final int DONE = 1;

  /** Short, so that a test of a lost connection ends. */
  private static final NbdClientOptions OPTIONS =
      NbdClientOptions.defaults().withRetry(Duration.ofMillis(50)).withConnections(1);

  private interface Use {
    void run(NbdClient client) throws Exception;
  }

  private interface Answer {
    void to(ScriptedServer.Peer peer, Request request) throws Exception;
  }

  /** Runs a client against a server that answers its first request so, and all others well. */
  private static void with(Answer answer, Use use) throws Exception {
    Script script =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          answer.to(peer, peer.request());
          peer.serveAll((byte) 9);
        };
    try (ScriptedServer server = new ScriptedServer(script);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      use.run(client);
    }
  }

  private static byte[] read(NbdClient client, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    client.read(bytes, 0);
    return bytes.array();
  }

  @Test
  void piecesOfAReadMayComeInAnyOrder() throws Exception {
    with(
        (peer, request) -> {
          peer.chunk(request, false, new Chunk.Data(3, ByteBuffer.wrap(new byte[] {4})));
          peer.chunk(request, false, new Chunk.Hole(1, 2));
          peer.chunk(request, false, new Chunk.Data(0, ByteBuffer.wrap(new byte[] {1})));
          peer.chunk(request, true, new Chunk.None());
        },
        client -> assertThat(read(client, 4)).containsExactly(1, 0, 0, 4));
  }

  @ParameterizedTest
  @CsvSource(
      quoteCharacter = '"',
      textBlock =
          """
          1, 1, "0000000000000000 0102030405",   "reply to READ: 5 bytes at 0 are no part of 4 bytes at 0"
          1, 1, "0000000000000004 01",           "reply to READ: 1 bytes at 4 are no part of 4 bytes at 0"
          1, 1, "ffffffffffffffff 01020304",     "reply to READ: 4 bytes at -1 are no part of 4 bytes at 0"
          1, 1, "0000000000000000 010203",       "reply to READ: it has ended, and bytes of 4 at 0 are missing"
          1, 1, "0000000000000000",              "data chunk: 8 bytes; 9 at least"
          1, 2, "0000000000000001 00000004",     "reply to READ: 4 bytes at 1 are no part of 4 bytes at 0"
          1, 2, "0000000000000000 00000000",     "hole chunk: its length is 0"
          1, 2, "0000000000000000",              "hole chunk: 8 bytes, not 12"
          0, 0, "",                              "empty chunk: it is not the last one"
          1, 0, "",                              "reply to READ: it has ended, and bytes of 4 at 0 are missing"
          1, 0, "00",                            "empty chunk: has 1 bytes"
          1, 3, "",                              "chunk: its type is 3, which is not known"
          1, 5, "00000007 00001000 00000000",    "reply to READ: one block status too many"
          1, 32769, "00000005 0001",             "error chunk: 0 bytes, not 1"
          1, 32769, "00000005",                  "error chunk: 4 bytes; at least 6 are needed"
          """)
  void aReplyToAReadThatCannotBeEndsTheConnectionForGood(
      int flags, int type, String hex, String problem) throws Exception {
    with(
        (peer, request) -> peer.chunkHex(request, flags == DONE, type, hex),
        client -> {
          assertThatThrownBy(() -> read(client, 4))
              .isInstanceOf(NbdException.class)
              .hasMessage("%s: protocol error: %s", client.name(), problem);
          assertThatThrownBy(() -> read(client, 4))
              .hasMessage("%s: protocol error: %s", client.name(), problem);
        });
  }

  @Test
  void overlappingPiecesAreRefused() throws Exception {
    with(
        (peer, request) -> {
          peer.chunk(request, false, new Chunk.Hole(0, 4));
          peer.chunk(request, true, new Chunk.Data(3, ByteBuffer.wrap(new byte[1])));
        },
        client ->
            assertThatThrownBy(() -> read(client, 4))
                .hasMessageEndingWith("reply to READ: 1 bytes at 3 overlap others"));
  }

  @Test
  void longChunksAreNotReceived() throws Exception {
    with(
        (peer, request) ->
            peer.send(20, new ChunkHeader(0, 0x8001, request.cookie(), 0, 0xffff_ffffL)::write),
        client ->
            assertThatThrownBy(() -> read(client, 4))
                .hasMessageEndingWith(
                    "chunk of type 0x8001: 4294967295 bytes; at most 8388612 are accepted"));
  }

  @Test
  void aSimpleReplyToAReadIsRefusedOnceChunksAreAgreedOn() throws Exception {
    with(
        (peer, request) -> peer.simple(request, 0),
        client ->
            assertThatThrownBy(() -> read(client, 4))
                .hasMessageEndingWith(
                    "reply to READ: it is a simple one, and chunks were agreed on"));
  }

  @Test
  void aChunkIsRefusedWhereNoneWereAgreedOn() throws Exception {
    Script script =
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL, false);
          peer.chunk(peer.request(), true, new Chunk.None());
          peer.serveAll((byte) 0);
        };
    try (ScriptedServer server = new ScriptedServer(script);
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      assertThatThrownBy(client::flush)
          .hasMessageEndingWith("protocol error: reply: its magic number is 0x668e33ef");
    }
  }

  @Test
  void repliesToRequestsThatWereNotMadeAreRefused() throws Exception {
    with(
        (peer, request) -> peer.sendHex("67446698 00000000 0123456789abcdef"),
        client ->
            assertThatThrownBy(() -> read(client, 4))
                .hasMessageEndingWith("protocol error: reply: to a request that was not made"));
  }

  @Test
  void dataInAnswerToAWriteIsRefused() throws Exception {
    with(
        (peer, request) -> {
          peer.payload(request);
          peer.chunk(request, true, new Chunk.Data(0, ByteBuffer.wrap(new byte[4])));
        },
        client ->
            assertThatThrownBy(
                    () -> client.write(new ByteBuffer[] {ByteBuffer.allocate(4)}, 0, false))
                .hasMessageEndingWith("reply to WRITE: it carries data"));
  }

  @Test
  void aRefusedRequestHarmsNoOther() throws Exception {
    with(
        (peer, request) -> {
          peer.chunk(request, false, new Chunk.Failed(5, "bad \u001b sector", 2));
          peer.chunk(request, true, new Chunk.Failed(22, "and more", -1));
        },
        client -> {
          assertThatThrownBy(() -> read(client, 4))
              .isInstanceOf(StorageIoException.class)
              .hasMessage(
                  "%s: Input/output error (READ of 4 bytes, refused with 'bad ? sector', at host"
                      + " offset 0x2)",
                  client.name());
          assertThat(read(client, 2)).containsExactly(9, 9);
        });
  }

  @Test
  void anUnknownKindOfErrorIsAnError() throws Exception {
    with(
        (peer, request) -> peer.chunkHex(request, true, 0x9000, "1234"),
        client -> {
          assertThatThrownBy(() -> read(client, 4))
              .isInstanceOf(StorageIoException.class)
              .hasMessageContaining("Invalid argument");
          assertThat(read(client, 1)).containsExactly(9);
        });
  }

  private static Answer status(Chunk... chunks) {
    return (peer, request) -> {
      for (Chunk chunk : chunks) {
        peer.chunk(request, false, chunk);
      }
      peer.chunk(request, true, new Chunk.None());
    };
  }

  private static Chunk extents(int context, long... lengthsAndFlags) {
    List<StatusExtent> extents = new ArrayList<>();
    for (int i = 0; i < lengthsAndFlags.length; i += 2) {
      extents.add(new StatusExtent(lengthsAndFlags[i], lengthsAndFlags[i + 1]));
    }
    return new Chunk.Status(context, extents, false);
  }

  @Test
  void aBlockStatusIsCutToWhatWasAskedFor() throws Exception {
    with(
        status(extents(5, 1, 1), extents(7, 4096, 3, 8192, 0, 1 << 20, 2)),
        client ->
            assertThat(client.blockStatus(0, 16384))
                .containsExactly(
                    new NbdClient.Status(4096, true, true),
                    new NbdClient.Status(8192, false, false),
                    new NbdClient.Status(4096, false, true)));
  }

  @Test
  void aBlockStatusThatCannotBeIsRefused() throws Exception {
    with(
        status(extents(7, 4096, 3, 8192, 0, 4096, 2)),
        client ->
            assertThatThrownBy(() -> client.blockStatus(0, 12288))
                .hasMessageEndingWith(
                    "block status: extents go on after the 12288 bytes asked for"));
    with(
        status(extents(7, 4096, 3), extents(7, 4096, 3)),
        client ->
            assertThatThrownBy(() -> client.blockStatus(0, 12288))
                .hasMessageEndingWith("reply to BLOCK_STATUS: one block status too many"));
    with(
        status(extents(6, 4096, 3)),
        client ->
            assertThatThrownBy(() -> client.blockStatus(0, 12288))
                .hasMessageEndingWith("reply to BLOCK_STATUS: there is no block status in it"));
  }

  @Test
  void anythingAtAllEndsInAnErrorOrAnAnswer() throws Exception {
    long seed = Long.getLong("imago.seed", 4711);
    Random random = new Random(seed);
    int rounds = Boolean.getBoolean("imago.long") ? 20_000 : 300;
    String[] begins = {"", "668e33ef 0001", "668e33ef 0001 0001", "668e33ef 0000 0002", "67446698"};
    for (int round = 0; round < rounds; round++) {
      String begin = begins[random.nextInt(begins.length)].replace(" ", "");
      byte[] noise = new byte[random.nextInt(200)];
      random.nextBytes(noise);
      boolean cookie = random.nextBoolean();
      Script script =
          peer -> {
            peer.open(SIZE, ScriptedServer.ALL);
            Request request = peer.request();
            peer.sendHex(begin);
            if (cookie && !begin.isEmpty()) {
              peer.sendHex("0000".repeat(begin.length() == 16 ? 0 : begin.length() == 12 ? 1 : 2));
              peer.out.writeLong(request.cookie());
              peer.out.writeInt(random.nextInt(64));
            }
            peer.out.write(noise);
          };
      try (ScriptedServer server = new ScriptedServer(script);
          NbdClient client = NbdClient.connect(server.uri(), OPTIONS.withRetry(Duration.ZERO))) {
        read(client, 16);
      } catch (IOException e) {
        assertThat(e.getMessage()).as("seed %d, round %d", seed, round).isNotEmpty();
      }
    }
  }
}
