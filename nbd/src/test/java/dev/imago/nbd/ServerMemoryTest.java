package dev.imago.nbd;

import static dev.imago.nbd.wire.CommandType.READ;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The memory that clients can have a server take has a limit, and who finds none goes on. */
@Timeout(120)
class ServerMemoryTest {
  /** As long as a READ may be. */
  private static final int SIZE = 32 << 20;

  private final byte[] contents = new byte[SIZE];

  private FaultyStorage storage() throws IOException {
    new Random(11).nextBytes(contents);
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(SIZE, Storage.Preallocation.OFF);
    storage.write(ByteBuffer.wrap(contents), 0);
    return new FaultyStorage(storage);
  }

  private byte[] contents(int offset, int length) {
    return Arrays.copyOfRange(contents, offset, offset + length);
  }

  @Test
  void clientsThatAskForMuchAndReadNothingGetNoMoreMemoryThanWasPromised() throws Exception {
    long memory = 40 << 20;
    int many = 10;
    List<Peer> deaf = new ArrayList<>();
    try (Served served = Served.of(Served.raw(storage()), o -> o.memory(memory));
        Peer other = Peer.using(served.address(), ReplyStyle.SIMPLE)) {
      for (int i = 0; i < many; i++) {
        ReplyStyle style = i % 2 == 0 ? ReplyStyle.SIMPLE : ReplyStyle.STRUCTURED;
        Peer peer = Peer.using(served.address(), style);
        deaf.add(peer);
        for (int n = 0; n < 3; n++) {
          peer.request(READ, 0, n, 0, SIZE);
        }
        peer.receive(8); // of its first reply: the server is at work for it
      }

      other.request(READ, 0, 1, 5 << 20, 9 << 20);
      assertThat(other.simpleReply()).isEqualTo(new SimpleReply(0, 1));
      assertThat(other.receive(9 << 20).array()).isEqualTo(contents(5 << 20, 9 << 20));
      other.write(CommandType.FUA, 2, 0, contents(0, 3 << 20));
      assertThat(other.simpleReply()).isEqualTo(new SimpleReply(0, 2));

      long limit = memory + (many + 1) * (long) NbdServerOptions.CONNECTION_MEMORY;
      assertThat(served.server.payloads().mostBytes()).isBetween(memory / 2, limit);
      assertThat(served.server.counters().getMemoryInUse()).isBetween(1L, limit);

      Peer last = deaf.get(many - 2); // which reads at last, and is not of those that had memory
      last.receive(SimpleReply.BYTES - 8);
      assertThat(last.receive(SIZE).array()).isEqualTo(contents);
      assertThat(last.simpleReply()).isEqualTo(new SimpleReply(0, 1));
      assertThat(served.server.payloads().mostBytes()).isLessThanOrEqualTo(limit);
      for (Peer peer : deaf) {
        peer.close();
      }
    }
  }

  @Test
  void withoutMemoryAllIsServedAllTheSame() throws Exception {
    Image image = Served.raw(storage());
    try (Served served = Served.of(image, o -> o.memory(0));
        Peer simple = Peer.using(served.address(), ReplyStyle.SIMPLE);
        Peer peer = Peer.greeted(served.address())) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      peer.contexts(OptionType.SET_META_CONTEXT, "", MetaContext.ALLOCATION);
      peer.go("");

      // A second request, that could be answered at once, does not get in between.
      simple.request(READ, 0, 1, 1000, 3 << 20);
      simple.request(READ, 0, 2, 0, 1);
      assertThat(simple.simpleReply()).isEqualTo(new SimpleReply(0, 1));
      assertThat(simple.receive(3 << 20).array()).isEqualTo(contents(1000, 3 << 20));
      assertThat(simple.simpleReply()).isEqualTo(new SimpleReply(0, 2));
      simple.receive(1);

      peer.request(READ, 0, 3, 77, 1 << 20);
      ByteBuffer read = ByteBuffer.allocate(1 << 20);
      for (Chunk chunk : peer.pieces(3)) {
        Chunk.Data data = (Chunk.Data) chunk;
        read.position((int) data.offset() - 77).put(data.content());
      }
      assertThat(read.array()).isEqualTo(contents(77, 1 << 20));

      peer.request(READ, CommandType.DF, 4, 0, 1 << 20);
      assertThat(peer.pieces(4)).hasSize(1);

      peer.write(0, 5, 4096, contents(0, 1 << 20));
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 5));
      peer.request(CommandType.CACHE, 0, 6, 0, SIZE);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 6));
      peer.request(CommandType.BLOCK_STATUS, 0, 7, 0, SIZE);
      assertThat(((Chunk.Status) peer.pieces(7).getFirst()).extents())
          .isEqualTo(List.of(new StatusExtent(SIZE, 0)));
      assertThat(served.server.payloads().mostBytes())
          .isLessThanOrEqualTo(2L * NbdServerOptions.CONNECTION_MEMORY);
    }
  }

  @Test
  void failureBehindTheFirstPieceOfAReplyInOneEndsTheConnection() throws Exception {
    FaultyStorage faulty = storage();
    faulty.failWhen(r -> r.call() == StorageCall.READ && r.touches(2 << 20, 1));
    try (Served served = Served.of(Served.raw(faulty), o -> o.memory(0));
        Peer simple = Peer.using(served.address(), ReplyStyle.SIMPLE);
        Peer structured = Peer.using(served.address(), ReplyStyle.STRUCTURED)) {
      simple.request(READ, 0, 1, 0, 4 << 20);
      assertThat(simple.simpleReply()).isEqualTo(new SimpleReply(0, 1));
      assertThatThrownBy(() -> simple.receive(4 << 20)).isInstanceOf(EOFException.class);

      structured.request(READ, 0, 1, 0, 4 << 20);
      List<Chunk> chunks = structured.pieces(1);
      assertThat(((Chunk.Failed) chunks.getLast()).error()).isEqualTo(NbdError.EIO.code());
      faulty.heal();
    }
  }
}
