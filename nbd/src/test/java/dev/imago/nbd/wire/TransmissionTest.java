package dev.imago.nbd.wire;

import static dev.imago.nbd.wire.Hex.bytes;
import static dev.imago.nbd.wire.Hex.plain;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Requests and replies; those with 28, 16 and 20 bytes as a session with qemu-nbd 7.2 had them. */
class TransmissionTest {
  private static final long COOKIE = 0x1122334455667788L;

  @Test
  void compactRequestIsReadAndWritten() throws Exception {
    String hex = "25609513 0004 0000 1122334455667788 000000000000f000 00002000";

    Request request = Request.parse(bytes(hex));

    assertThat(request).isEqualTo(new Request(CommandType.DF, 0, COOKIE, 0xf000, 0x2000));
    assertThat(Hex.of(Request.BYTES, request::write)).isEqualTo(plain(hex));
  }

  @Test
  void compactRequestIsUnsigned() throws Exception {
    Request request =
        Request.parse(bytes("25609513 ffff ffff 1122334455667788 0000000000000000 ffffffff"));

    assertThat(request).isEqualTo(new Request(0xffff, 0xffff, COOKIE, 0, 0xffff_ffffL));
    assertThat(CommandType.of(request.type())).isNull();
  }

  @Test
  void extendedRequestIsReadAndWritten() throws Exception {
    String hex = "21e41c71 0020 0001 1122334455667788 000000000000f000 0000000100000000";

    Request request = Request.parseExtended(bytes(hex));

    assertThat(request)
        .isEqualTo(new Request(CommandType.PAYLOAD_LEN, 1, COOKIE, 0xf000, 1L << 32));
    assertThat(Hex.of(Request.EXTENDED_BYTES, request::writeExtended)).isEqualTo(plain(hex));
  }

  @Test
  void requestWithAnotherMagicNumberIsRefused() {
    assertThatThrownBy(
            () ->
                Request.parse(
                    bytes("25609514 0004 0000 1122334455667788 0000000000000000 00000000")))
        .isInstanceOf(NbdProtocolException.class)
        .hasMessage("request: the magic number is 0x25609514, not 0x25609513");
  }

  @Test
  void simpleReplyIsReadAndWritten() throws Exception {
    String hex = "67446698 00000016 1122334455667788";

    SimpleReply reply = SimpleReply.parse(bytes(hex));

    assertThat(reply).isEqualTo(new SimpleReply(NbdError.EINVAL.code(), COOKIE));
    assertThat(Hex.of(SimpleReply.BYTES, reply::write)).isEqualTo(plain(hex));
  }

  @Test
  void chunkHeadersAreReadAndWritten() throws Exception {
    String hex = "668e33ef 0001 0002 1122334455667788 0000000c";
    ChunkHeader header = ChunkHeader.parse(bytes(hex));
    assertThat(header).isEqualTo(new ChunkHeader(1, Chunk.OFFSET_HOLE, COOKIE, 0, 12));
    assertThat(header.done()).isTrue();
    assertThat(Hex.of(ChunkHeader.BYTES, header::write)).isEqualTo(plain(hex));

    String extended = "6e8a278c 0000 0006 1122334455667788 000000000000f000 0000000000000018";
    ChunkHeader wide = ChunkHeader.parseExtended(bytes(extended));
    assertThat(wide).isEqualTo(new ChunkHeader(0, Chunk.BLOCK_STATUS_EXT, COOKIE, 0xf000, 24));
    assertThat(Hex.of(ChunkHeader.EXTENDED_BYTES, wide::writeExtended)).isEqualTo(plain(extended));
  }

  @Test
  void chunksAreReadAndWritten() throws Exception {
    assertChunk(0, "", new Chunk.None());
    assertChunk(1, "000000000000f000 5566", new Chunk.Data(0xf000, bytes("5566")));
    assertChunk(2, "0000000000010000 00001000", new Chunk.Hole(0x10000, 0x1000));
    assertChunk(
        5,
        "00000000 00010000 00000000 00030000 00000003 00010000 00000000 000b0000 00000003",
        new Chunk.Status(
            0,
            List.of(
                new StatusExtent(0x10000, 0),
                new StatusExtent(0x30000, MetaContext.HOLE | MetaContext.ZERO),
                new StatusExtent(0x10000, 0),
                new StatusExtent(0xb0000, 3)),
            false));
    assertChunk(
        6,
        "00000007 00000001 0000000100000000 0000000000000003",
        new Chunk.Status(7, List.of(new StatusExtent(1L << 32, 3)), true));
    assertChunk(0x8001, "00000016 0003 6f6f6f", new Chunk.Failed(22, "ooo", -1));
    assertChunk(0x8002, "00000005 0000 0000000000001000", new Chunk.Failed(5, "", 4096));
  }

  private static void assertChunk(int type, String hex, Chunk expected) throws Exception {
    Chunk chunk = Chunk.parse(type, bytes(hex));
    assertThat(chunk).isEqualTo(expected);
    assertThat(chunk.type()).isEqualTo(type);
    assertThat(Hex.of(chunk.bytes(), chunk::write)).isEqualTo(plain(hex));
  }

  @Test
  void extendedStatusMayLeaveItsCountToTheLength() throws Exception {
    assertThat(Chunk.parse(6, bytes("00000007 00000000 0000000000000001 0000000000000000")))
        .isEqualTo(new Chunk.Status(7, List.of(new StatusExtent(1, 0)), true));
  }

  @Test
  void chunksThatBreakTheRulesAreRefused() {
    assertRefused(0, "00", "empty chunk: has 1 bytes");
    assertRefused(1, "0000000000000000", "data chunk: 8 bytes; at least 9 are needed");
    assertRefused(
        1,
        "8000000000000000 00",
        "data chunk: its offset is 9223372036854775808; at most 2^63 - 1 is allowed");
    assertRefused(2, "0000000000000000 00000000", "hole chunk: its length is 0");
    assertRefused(2, "0000000000000000 0000000000", "hole chunk: 13 bytes, not 12");
    assertRefused(5, "00000000", "block status: 4 bytes; at least 12 are needed");
    assertRefused(
        5,
        "00000000 00000000 00000000",
        "block status: an extent of 0 bytes; 1 to 2^63 - 1 are allowed");
    assertRefused(
        6,
        "00000000 00000002 0000000000000001 0000000000000000",
        "extended block status: 2 extents in 16 bytes");
    assertRefused(0x8001, "00000005 ffff", "error chunk: 0 bytes, not 65535");
  }

  private static void assertRefused(int type, String hex, String message) {
    assertThatThrownBy(() -> Chunk.parse(type, bytes(hex)))
        .isInstanceOf(NbdProtocolException.class)
        .hasMessage(message);
  }

  @Test
  void unknownChunksSayWhetherTheyAreErrors() throws Exception {
    assertThat(Chunk.parse(0x8077, bytes("01"))).isEqualTo(new Chunk.Other(0x8077));
    assertThat(Chunk.isError(0x8077)).isTrue();
    assertThat(Chunk.isError(3)).isFalse();
  }

  @Test
  void statusFilterIsReadAndWritten() throws Exception {
    String hex = "0000000100000000 00000001 00000007";

    StatusFilter filter = StatusFilter.parse(bytes(hex));

    assertThat(filter).isEqualTo(new StatusFilter(1L << 32, List.of(1, 7)));
    assertThat(Hex.of(filter.bytes(), filter::write)).isEqualTo(plain(hex));
    assertThatThrownBy(() -> StatusFilter.parse(ByteBuffer.allocate(10)))
        .hasMessage(
            "payload of a block status request: 10 bytes; 8 and 4 for each context are allowed");
  }

  @Test
  void commandsKnowTheirFlags() {
    assertThat(CommandType.READ.allows(CommandType.DF | CommandType.FUA)).isTrue();
    assertThat(CommandType.READ.allows(CommandType.NO_HOLE)).isFalse();
    assertThat(CommandType.WRITE.allows(CommandType.DF)).isFalse();
    assertThat(CommandType.WRITE_ZEROES.allows(CommandType.NO_HOLE | CommandType.FAST_ZERO))
        .isTrue();
    assertThat(CommandType.BLOCK_STATUS.allows(CommandType.REQ_ONE)).isTrue();
    assertThat(CommandType.FLUSH.allows(1 << 15)).isFalse();
    assertThat(CommandType.of(7)).isEqualTo(CommandType.BLOCK_STATUS);
    assertThat(CommandType.of(8)).isNull();
  }

  @Test
  void unknownErrorsMeanInvalid() {
    assertThat(NbdError.of(28)).isEqualTo(NbdError.ENOSPC);
    assertThat(NbdError.of(4711)).isEqualTo(NbdError.EINVAL);
  }
}
