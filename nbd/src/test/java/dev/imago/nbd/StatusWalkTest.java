package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.storage.Storage.Run;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class StatusWalkTest {
  private static final int SIZE = 1 << 20;
  private static final int HALF = SIZE / 2;

  /** Hole, zeroes that have space, data; asked for so often. */
  private final AtomicInteger asked = new AtomicInteger();

  private ScriptedServer server() throws Exception {
    return new ScriptedServer(
        peer -> {
          peer.open(SIZE, ScriptedServer.ALL);
          while (true) {
            Request request = peer.request();
            if (request.type() != CommandType.BLOCK_STATUS.code()) {
              peer.serve(request, (byte) 1);
              continue;
            }
            asked.incrementAndGet();
            StatusExtent data = new StatusExtent(HALF, 0);
            List<StatusExtent> extents =
                request.offset() >= HALF
                    ? List.of(data)
                    : List.of(
                        new StatusExtent(1000, MetaContext.HOLE | MetaContext.ZERO),
                        new StatusExtent(HALF - 1000 - request.offset(), MetaContext.ZERO),
                        data);
            peer.chunk(request, true, new Chunk.Status(7, extents, false));
          }
        });
  }

  private static NbdStorage open(ScriptedServer server) throws Exception {
    return NbdStorage.open(server.uri(), true, NbdClientOptions.defaults().withConnections(1));
  }

  @Test
  void oneAnswerIsEnoughForAWalkAndTheNextWalkAsksAgain() throws Exception {
    try (ScriptedServer server = server();
        NbdStorage storage = open(server)) {
      for (int walk = 1; walk <= 2; walk++) {
        assertThat(storage.run(0, SIZE)).isEqualTo(new Run(false, HALF));
        assertThat(storage.run(HALF, 5)).isEqualTo(new Run(true, 5));
        assertThat(storage.run(HALF + 5, SIZE)).isEqualTo(new Run(true, HALF - 5));
        assertThat(asked).hasValue(walk);
      }
    }
  }

  @Test
  void ofABlockOfWhichTooLittleWasToldAllIsData() throws Exception {
    try (ScriptedServer server =
            new ScriptedServer(
                peer -> {
                  peer.open(
                      SIZE, ScriptedServer.ALL, true, new ExportInfo.BlockSize(512, 4096, 1 << 20));
                  List<StatusExtent> half = List.of(new StatusExtent(256, MetaContext.ZERO));
                  while (true) {
                    peer.chunk(peer.request(), true, new Chunk.Status(7, half, false));
                  }
                });
        NbdStorage storage = open(server)) {
      assertThat(storage.run(0, SIZE)).isEqualTo(new Run(false, 256));
      assertThat(storage.run(300, SIZE - 300)).isEqualTo(new Run(true, 212));
      assertThat(storage.run(300, 5)).isEqualTo(new Run(true, 5));
    }
  }

  @Test
  void whatWasToldOnceIsAskedForAgain() throws Exception {
    try (ScriptedServer server = server();
        NbdStorage storage = open(server)) {
      storage.run(0, 4096);
      storage.run(4095, 1);
      assertThat(asked).hasValue(2);
    }
  }

  @Test
  void aChangeMakesTheAnswerVoid() throws Exception {
    try (ScriptedServer server = server();
        NbdStorage storage = open(server)) {
      storage.run(0, 4096);
      storage.write(ByteBuffer.allocate(1), 0);
      storage.run(4096, 4096);
      assertThat(asked).hasValue(2);
    }
  }
}
