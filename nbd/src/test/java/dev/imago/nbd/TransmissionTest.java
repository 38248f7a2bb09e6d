package dev.imago.nbd;

import static dev.imago.nbd.wire.CommandType.BLOCK_STATUS;
import static dev.imago.nbd.wire.CommandType.CACHE;
import static dev.imago.nbd.wire.CommandType.FLUSH;
import static dev.imago.nbd.wire.CommandType.READ;
import static dev.imago.nbd.wire.CommandType.TRIM;
import static dev.imago.nbd.wire.CommandType.WRITE;
import static dev.imago.nbd.wire.CommandType.WRITE_ZEROES;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.nbd.wire.StatusFilter;
import dev.imago.qcow2.Qcow2;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class TransmissionTest {
  private static final int CLUSTER = 64 << 10;
  private static final int HOLE = MetaContext.HOLE | MetaContext.ZERO;

  private static byte[] filled(int length, int value) {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) value);
    return bytes;
  }

  private static Peer using(Served served, ReplyStyle style) throws IOException {
    return Peer.using(served.address(), style);
  }

  /** Expects success, whichever form it has. */
  private static void done(Peer peer, long cookie) throws IOException {
    assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, cookie));
  }

  private static void failed(Peer peer, long cookie, NbdError error) throws IOException {
    List<Chunk> chunks = peer.pieces(cookie);
    assertThat(chunks).hasSize(1);
    assertThat(((Chunk.Failed) chunks.getFirst()).error()).isEqualTo(error.code());
  }

  @Test
  void whatWasWrittenIsReadInEveryStyle() throws Exception {
    try (Served served = Served.of(Served.qcow2())) {
      try (Peer peer = using(served, ReplyStyle.SIMPLE)) {
        peer.write(0, 1, 1000, filled(5000, 7));
        done(peer, 1);
        peer.request(READ, 0, 2, 999, 5002);
        done(peer, 2);
        byte[] read = peer.receive(5002).array();
        assertThat(read[0]).isZero();
        assertThat(Arrays.copyOfRange(read, 1, 5001)).isEqualTo(filled(5000, 7));
        assertThat(read[5001]).isZero();
      }
      try (Peer peer = using(served, ReplyStyle.STRUCTURED)) {
        peer.request(READ, 0, 3, 1000, 10);
        assertThat(peer.pieces(3))
            .containsExactly(new Chunk.Data(1000, ByteBuffer.wrap(filled(10, 7))));
      }
    }
  }

  @Test
  void structuredReadTellsHolesAndDontFragmentKeepsItInOnePiece() throws Exception {
    try (Served served = Served.of(Served.qcow2());
        Peer peer = using(served, ReplyStyle.STRUCTURED)) {
      peer.write(0, 1, CLUSTER, filled(CLUSTER, 7));
      done(peer, 1);

      peer.request(READ, 0, 2, 0, 4 * CLUSTER);
      List<Chunk> chunks = peer.pieces(2);
      peer.request(READ, CommandType.DF, 3, 0, 4 * CLUSTER);
      List<Chunk> whole = peer.pieces(3);
      peer.request(READ, 0, 4, 2 * CLUSTER, 4 * CLUSTER);
      List<Chunk> nothing = peer.pieces(4);

      assertThat(chunks)
          .containsExactlyInAnyOrder(
              new Chunk.Hole(0, CLUSTER),
              new Chunk.Data(CLUSTER, ByteBuffer.wrap(filled(CLUSTER, 7))),
              new Chunk.Hole(2 * CLUSTER, 2 * CLUSTER));
      assertThat(whole).hasSize(1);
      assertThat(((Chunk.Data) whole.getFirst()).content().remaining()).isEqualTo(4 * CLUSTER);
      assertThat(nothing).containsExactly(new Chunk.Hole(2 * CLUSTER, 4 * CLUSTER));
    }
  }

  @Test
  void longReadsAndWritesAreWhole() throws Exception {
    byte[] long7 = filled(6 << 20, 7);
    for (ReplyStyle style : List.of(ReplyStyle.SIMPLE, ReplyStyle.STRUCTURED)) {
      try (Served served = Served.of(Served.raw());
          Peer peer = using(served, style)) {
        peer.write(CommandType.FUA, 1, 1, long7);
        done(peer, 1);
        peer.request(READ, 0, 2, 0, Served.SIZE);
        byte[] read = new byte[Served.SIZE];
        if (style == ReplyStyle.SIMPLE) {
          done(peer, 2);
          peer.receive(Served.SIZE).get(read);
        } else {
          for (Chunk chunk : peer.pieces(2)) {
            if (chunk instanceof Chunk.Data data) {
              data.content().get(read, (int) data.offset(), data.content().remaining());
            }
          }
        }
        assertThat(read[0]).isZero();
        assertThat(Arrays.equals(read, 1, 1 + long7.length, long7, 0, long7.length)).isTrue();
        assertThat(read[Served.SIZE - 1]).isZero();
      }
    }
  }

  @Test
  void lengthsOfZeroAreDone() throws Exception {
    try (Served served = Served.of(Served.raw());
        Peer peer = using(served, ReplyStyle.STRUCTURED)) {
      peer.request(READ, 0, 1, Served.SIZE, 0);
      assertThat(peer.pieces(1)).containsExactly(new Chunk.None());
      for (CommandType type : List.of(WRITE, TRIM, WRITE_ZEROES, CACHE, FLUSH)) {
        peer.request(type, CommandType.FUA, 2, 0, 0);
        done(peer, 2);
      }
    }
  }

  @Test
  void rangesPastTheEndAreRefusedAndNothingIsTouched() throws Exception {
    try (Served served = Served.of(Served.raw());
        Peer peer = using(served, ReplyStyle.STRUCTURED)) {
      peer.request(READ, 0, 1, Served.SIZE - 1, 2);
      failed(peer, 1, NbdError.EINVAL);
      peer.request(READ, 0, 2, -1, 1);
      failed(peer, 2, NbdError.EINVAL);
      peer.write(0, 3, Served.SIZE - 1, filled(2, 7));
      failed(peer, 3, NbdError.ENOSPC);
      peer.request(WRITE_ZEROES, 0, 4, 1, Served.SIZE);
      failed(peer, 4, NbdError.ENOSPC);
      peer.request(TRIM, 0, 5, Long.MAX_VALUE, 0xffff_ffffL);
      failed(peer, 5, NbdError.EINVAL);
      peer.request(READ, 0, 6, Served.SIZE - 1, 1);
      assertThat(peer.pieces(6))
          .containsExactly(new Chunk.Data(Served.SIZE - 1, ByteBuffer.allocate(1)));
    }
  }

  @Test
  void flagsAndCommandsThatAreNotThereAreRefused() throws Exception {
    try (Served served = Served.of(Served.raw());
        Peer peer = using(served, ReplyStyle.STRUCTURED)) {
      peer.request(READ, CommandType.NO_HOLE, 1, 0, 1);
      failed(peer, 1, NbdError.EINVAL);
      peer.write(CommandType.DF, 2, 0, filled(100, 7));
      failed(peer, 2, NbdError.EINVAL);
      peer.request(READ, 1 << 14, 3, 0, 1);
      failed(peer, 3, NbdError.EINVAL);
      peer.send(Request.BYTES, new Request(0, 77, 4, 0, 0)::write);
      failed(peer, 4, NbdError.EINVAL);
      peer.request(FLUSH, 0, 5, 512, 0);
      failed(peer, 5, NbdError.EINVAL);
      peer.request(BLOCK_STATUS, 0, 6, 0, 512);
      failed(peer, 6, NbdError.EINVAL);
      peer.request(READ, 0, 7, 0, 1);
      assertThat(peer.pieces(7)).containsExactly(new Chunk.Data(0, ByteBuffer.allocate(1)));
    }
    try (Served served = Served.of(Served.raw());
        Peer peer = using(served, ReplyStyle.SIMPLE)) {
      peer.request(READ, CommandType.DF, 8, 0, 1);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(NbdError.EINVAL.code(), 8));
    }
  }

  @Test
  void readOnlyExportRefusesEveryChange() throws Exception {
    Image image = Served.raw();
    NbdServerOptions options = NbdServerOptions.of(NbdExport.of("", image).readOnly(true));
    try (Served served = Served.of(image, options, o -> o);
        Peer peer = using(served, ReplyStyle.STRUCTURED)) {
      peer.write(0, 1, 0, filled(100, 7));
      failed(peer, 1, NbdError.EPERM);
      peer.request(TRIM, 0, 2, 0, 4096);
      failed(peer, 2, NbdError.EPERM);
      peer.request(WRITE_ZEROES, 0, 3, 0, 4096);
      failed(peer, 3, NbdError.EPERM);
      peer.request(FLUSH, 0, 4, 0, 0);
      done(peer, 4);
    }
  }

  @Test
  void windowIsAllThatCanBeReached() throws Exception {
    Image image = Served.qcow2();
    image.write(ByteBuffer.wrap(filled(CLUSTER, 9)), 1 << 20);
    NbdExport export = NbdExport.of("", image).window(1 << 20, 1 << 20);
    try (Served served = Served.of(image, NbdServerOptions.of(export), o -> o);
        Peer peer = using(served, ReplyStyle.SIMPLE)) {
      peer.request(READ, 0, 1, 0, 100);
      done(peer, 1);
      assertThat(peer.receive(100).array()).isEqualTo(filled(100, 9));
      peer.write(0, 2, (1 << 20) - 100, filled(100, 8));
      done(peer, 2);
      peer.request(WRITE_ZEROES, 0, 3, 0, 1 << 20);
      done(peer, 3);
      peer.request(READ, 0, 4, 1 << 20, 1);
      assertThat(peer.simpleReply().error()).isEqualTo(NbdError.EINVAL.code());
      ByteBuffer around = ByteBuffer.allocate(100);
      image.read(around, 2 << 20);
      assertThat(around.array()).isEqualTo(new byte[100]);
    }
  }

  @Test
  void zeroesAndTrimAndStatusOfThem() throws Exception {
    try (Served served = Served.of(Served.qcow2());
        Peer peer = Peer.greeted(served.address())) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      peer.contexts(OptionType.SET_META_CONTEXT, "", MetaContext.ALLOCATION);
      peer.go("");
      peer.write(0, 1, 0, filled(3 * CLUSTER, 7));
      done(peer, 1);
      peer.request(WRITE_ZEROES, 0, 2, CLUSTER, CLUSTER);
      done(peer, 2);
      peer.request(TRIM, CommandType.FUA, 3, 2 * CLUSTER, CLUSTER);
      done(peer, 3);

      peer.request(BLOCK_STATUS, 0, 4, 0, Served.SIZE);
      assertThat(peer.pieces(4))
          .containsExactly(
              new Chunk.Status(
                  0,
                  List.of(
                      new StatusExtent(CLUSTER, 0), new StatusExtent(Served.SIZE - CLUSTER, HOLE)),
                  false));
      peer.request(BLOCK_STATUS, CommandType.REQ_ONE, 5, 512, Served.SIZE - 512);
      assertThat(peer.pieces(5))
          .containsExactly(new Chunk.Status(0, List.of(new StatusExtent(CLUSTER - 512, 0)), false));
      peer.request(BLOCK_STATUS, 0, 6, 0, 0);
      failed(peer, 6, NbdError.EINVAL);
    }
  }

  @Test
  void fastZeroIsDoneWhereZeroingIsCheapAndRefusedWhereNot() throws Exception {
    try (Served served = Served.of(Served.qcow2());
        Peer peer = using(served, ReplyStyle.STRUCTURED)) {
      peer.write(0, 1, 0, filled(CLUSTER, 7));
      done(peer, 1);
      peer.request(WRITE_ZEROES, CommandType.FAST_ZERO, 2, 512, 512);
      failed(peer, 2, NbdError.ENOTSUP);
      peer.request(READ, 0, 3, 512, 1);
      assertThat(peer.pieces(3))
          .containsExactly(new Chunk.Data(512, ByteBuffer.wrap(filled(1, 7))));
      peer.request(WRITE_ZEROES, CommandType.FAST_ZERO | CommandType.NO_HOLE, 4, 0, CLUSTER);
      done(peer, 4);
    }
  }

  @Test
  void severalContextsAreToldInOneReply() throws Exception {
    Image image = Served.qcow2();
    Qcow2.bitmaps(image).add("b", CLUSTER, true);
    image.write(ByteBuffer.wrap(filled(CLUSTER, 7)), 2 * CLUSTER);
    NbdExport export = NbdExport.of("", image).allocationDepth(true).bitmap("b");
    try (Served served = Served.of(image, NbdServerOptions.of(export), o -> o);
        Peer peer = Peer.greeted(served.address())) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      peer.contexts(
          OptionType.SET_META_CONTEXT,
          "",
          MetaContext.ALLOCATION,
          MetaContext.DEPTH,
          MetaContext.BITMAP + "b");
      peer.go("");

      peer.request(BLOCK_STATUS, 0, 1, CLUSTER, 3 * CLUSTER);

      assertThat(peer.pieces(1))
          .containsExactly(status(0, HOLE, 0), status(1, 0, 1), status(2, 0, 1));
    }
  }

  /** A cluster that is data between two that are not. */
  private static Chunk.Status status(int context, int around, int within) {
    return new Chunk.Status(
        context,
        List.of(
            new StatusExtent(CLUSTER, around),
            new StatusExtent(CLUSTER, within),
            new StatusExtent(CLUSTER, around)),
        false);
  }

  @Test
  void repliesOvertakeARequestThatWaitsForTheDisk() throws Exception {
    FaultyStorage slow = new FaultyStorage(storage());
    FaultyStorage.Pause pause =
        slow.pauseBefore(r -> r.call() == StorageCall.READ && r.touches(0, 512));
    try (Served served = Served.of(Served.raw(slow));
        Peer peer = using(served, ReplyStyle.SIMPLE)) {
      peer.request(READ, 0, 1, 0, 512);
      pause.awaitReached();
      peer.request(READ, 0, 2, 4096, 512);
      done(peer, 2);
      peer.receive(512);
      pause.resume();
      done(peer, 1);
      peer.receive(512);
    }
  }

  private static MemoryStorage storage() throws IOException {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(Served.SIZE, Storage.Preallocation.OFF);
    return storage;
  }

  @Test
  void failuresOfTheDiskAreToldAndTheConnectionGoesOn() throws Exception {
    FaultyStorage faulty = new FaultyStorage(storage());
    try (Served served = Served.of(Served.raw(faulty));
        Peer peer = using(served, ReplyStyle.STRUCTURED)) {
      peer.write(0, 9, 0, filled(CLUSTER, 7));
      done(peer, 9);
      faulty.failWhen(r -> r.call() == StorageCall.READ || r.call() == StorageCall.WRITEV);
      peer.request(READ, 0, 1, 0, 512);
      failed(peer, 1, NbdError.EIO);
      peer.write(0, 2, 4096, filled(512, 7));
      failed(peer, 2, NbdError.EIO);
      peer.write(0, 3, 4096, filled(5 << 20, 7));
      failed(peer, 3, NbdError.EIO);
      faulty.heal();
      peer.request(READ, 0, 4, 0, 1);
      assertThat(peer.pieces(4)).containsExactly(new Chunk.Data(0, ByteBuffer.wrap(filled(1, 7))));
    }
  }

  @Test
  void flushAndFuaReachTheStorage() throws Exception {
    FaultyStorage counting = new FaultyStorage(storage());
    try (Served served = Served.of(Served.raw(counting));
        Peer peer = using(served, ReplyStyle.SIMPLE)) {
      peer.write(0, 1, 0, filled(512, 7));
      done(peer, 1);
      assertThat(counting.calls(StorageCall.FLUSH)).isZero();
      peer.request(FLUSH, 0, 2, 0, 0);
      done(peer, 2);
      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(1);
      peer.write(CommandType.FUA, 3, 0, filled(512, 8));
      done(peer, 3);
      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(2);
      peer.request(TRIM, CommandType.FUA, 4, 0, 4096);
      done(peer, 4);
      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(3);
    }
  }

  @Test
  void flushOnOneConnectionIsForAnswersOnAll() throws Exception {
    FaultyStorage counting = new FaultyStorage(storage());
    try (Served served = Served.of(Served.raw(counting));
        Peer writer = using(served, ReplyStyle.SIMPLE);
        Peer other = using(served, ReplyStyle.SIMPLE)) {
      writer.write(0, 1, 0, filled(512, 7));
      done(writer, 1);
      other.request(READ, 0, 2, 0, 512);
      done(other, 2);
      assertThat(other.receive(512).array()).isEqualTo(filled(512, 7));
      other.request(FLUSH, 0, 3, 0, 0);
      done(other, 3);
      assertThat(counting.calls(StorageCall.FLUSH)).isEqualTo(1);
    }
  }

  @Test
  void extendedHeadersCarryEveryCommand() throws Exception {
    try (Served served = Served.of(Served.qcow2(), o -> o.extendedHeaders(true));
        Peer peer = Peer.greeted(served.address())) {
      peer.agreeOn(ReplyStyle.EXTENDED);
      peer.contexts(OptionType.SET_META_CONTEXT, "", MetaContext.ALLOCATION);
      peer.go("");
      peer.extended(WRITE, CommandType.PAYLOAD_LEN, 1, CLUSTER, 512);
      peer.send(ByteBuffer.wrap(filled(512, 7)));
      assertThat(peer.extendedPiece().chunk()).isEqualTo(new Chunk.None());
      peer.extended(READ, 0, 2, CLUSTER, 2);
      Peer.Piece read = peer.extendedPiece();
      assertThat(read.header().offset()).isEqualTo(CLUSTER);
      assertThat(read.chunk()).isEqualTo(new Chunk.Data(CLUSTER, ByteBuffer.wrap(filled(2, 7))));
      peer.extended(BLOCK_STATUS, 0, 3, 0, CLUSTER);
      assertThat(peer.extendedPiece().chunk())
          .isEqualTo(new Chunk.Status(0, List.of(new StatusExtent(CLUSTER, HOLE)), true));
      StatusFilter filter = new StatusFilter(CLUSTER, List.of(0));
      peer.extended(BLOCK_STATUS, CommandType.PAYLOAD_LEN, 4, CLUSTER, filter.bytes());
      peer.send(filter.bytes(), filter::write);
      assertThat(peer.extendedPiece().chunk())
          .isEqualTo(new Chunk.Status(0, List.of(new StatusExtent(CLUSTER, 0)), true));
      peer.extended(WRITE, 0, 5, 0, 512);
      assertThat(peer.extendedPiece().chunk())
          .isEqualTo(new Chunk.Failed(22, "unsupported flags for command WRITE (got 0x0)", -1));
      peer.extended(TRIM, CommandType.PAYLOAD_LEN, 6, 0, 4);
      peer.send(ByteBuffer.allocate(4));
      assertThat(((Chunk.Failed) peer.extendedPiece().chunk()).error()).isEqualTo(22);
      StatusFilter unknown = new StatusFilter(CLUSTER, List.of(0, 5));
      peer.extended(BLOCK_STATUS, CommandType.PAYLOAD_LEN, 7, 0, unknown.bytes());
      peer.send(unknown.bytes(), unknown::write);
      assertThat(((Chunk.Failed) peer.extendedPiece().chunk()).error()).isEqualTo(22);
      peer.extended(WRITE_ZEROES, 0, 8, 1, Long.MAX_VALUE);
      assertThat(((Chunk.Failed) peer.extendedPiece().chunk()).error())
          .isEqualTo(NbdError.ENOSPC.code());
    }
  }
}
