package dev.imago.nbd.wire;

import static dev.imago.nbd.wire.Hex.bytes;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * Bytes in, a record or an {@link NbdProtocolException} out; a record writes back what it was read
 * from. Anything else is a mistake of ours that a peer could use.
 */
class WireFuzzTest {
  private static final int ROUNDS = Boolean.getBoolean("imago.long") ? 5_000_000 : 30_000;
  private static final long SEED = 20261127;

  private final Random random = new Random(SEED);

  private interface Parser {
    /** Parses, and writes back. */
    String run(ByteBuffer in) throws NbdProtocolException;
  }

  private record Target(String seed, Parser parser) {}

  private static final List<Target> TARGETS =
      List.of(
          new Target(
              "4e42444d41474943 49484156454f5054 0003",
              in -> Hex.of(Greeting.BYTES, Greeting.parse(in)::write)),
          new Target(
              "49484156454f5054 00000007 0000000a",
              in -> Hex.of(OptionHeader.BYTES, OptionHeader.parse(in)::write)),
          new Target(
              "0003e889045565a9 00000003 80000006 00000019",
              in -> Hex.of(OptionReplyHeader.BYTES, OptionReplyHeader.parse(in)::write)),
          new Target(
              "00000003 657870 0004 0000 0001 0002 0003",
              in -> {
                ExportQuery query = ExportQuery.parse(in);
                return Hex.of(query.bytes(), query::write);
              }),
          new Target(
              "00000003 657870 00000002 00000003 613a62 00000003 633a64",
              in -> {
                ContextQuery query = ContextQuery.parse(in);
                return Hex.of(query.bytes(), query::write);
              }),
          new Target("0000 0000000000100000 0d6d", WireFuzzTest::info),
          new Target("0001 657870", WireFuzzTest::info),
          new Target("0003 00000001 00001000 02000000", WireFuzzTest::info),
          new Target(
              "00000003 657870 6d792064657363",
              in -> {
                ListedExport export = ListedExport.parse(in);
                return Hex.of(export.bytes(), export::write);
              }),
          new Target(
              "00000001 613a62",
              in -> {
                MetaContext context = MetaContext.parse(in);
                return Hex.of(context.bytes(), context::write);
              }),
          new Target(
              "25609513 0004 0000 1122334455667788 000000000000f000 00002000",
              in -> Hex.of(Request.BYTES, Request.parse(in)::write)),
          new Target(
              "21e41c71 0020 0001 1122334455667788 000000000000f000 0000000100000000",
              in -> Hex.of(Request.EXTENDED_BYTES, Request.parseExtended(in)::writeExtended)),
          new Target(
              "67446698 00000016 1122334455667788",
              in -> Hex.of(SimpleReply.BYTES, SimpleReply.parse(in)::write)),
          new Target(
              "668e33ef 0001 0002 1122334455667788 0000000c",
              in -> Hex.of(ChunkHeader.BYTES, ChunkHeader.parse(in)::write)),
          new Target("0000000000000000 55", in -> chunk(Chunk.OFFSET_DATA, in)),
          new Target("0000000000000000 00001000", in -> chunk(Chunk.OFFSET_HOLE, in)),
          new Target("00000000 00010000 00000000 00030000 00000003", in -> chunk(5, in)),
          new Target(
              "00000007 00000001 0000000100000000 0000000000000003",
              in -> chunk(Chunk.BLOCK_STATUS_EXT, in)),
          new Target("00000016 0003 6f6f6f", in -> chunk(Chunk.ERROR, in)),
          new Target("00000005 0001 61 0000000000001000", in -> chunk(Chunk.ERROR_OFFSET, in)),
          new Target(
              "0000000100000000 00000001",
              in -> {
                StatusFilter filter = StatusFilter.parse(in);
                return Hex.of(filter.bytes(), filter::write);
              }));

  private static String info(ByteBuffer in) throws NbdProtocolException {
    ExportInfo info = ExportInfo.parse(in);
    if (info instanceof ExportInfo.Other) {
      in.position(2);
    }
    return Hex.of(info.bytes(), info::write);
  }

  private static String chunk(int type, ByteBuffer in) throws NbdProtocolException {
    Chunk chunk = Chunk.parse(type, in);
    if (chunk instanceof Chunk.Data) {
      in.position(in.limit());
    }
    return Hex.of(chunk.bytes(), chunk::write);
  }

  @Test
  void everyMessageIsReadAndWrittenBackOrRefused() {
    int read = 0;
    for (int i = 0; i < ROUNDS; i++) {
      Target target = TARGETS.get(i % TARGETS.size());
      byte[] mutant = mutate(bytes(target.seed).array());
      ByteBuffer in = ByteBuffer.wrap(mutant);
      try {
        String written = target.parser.run(in);
        String parsed = HexFormat.of().formatHex(mutant, 0, in.position());
        if (!target.seed.startsWith("00000007")) { // whose count may be 0, and is written in full
          assertThat(written).as("seed %d, round %d", SEED, i).isEqualTo(parsed);
        }
        read++;
      } catch (NbdProtocolException e) {
        assertThat(e.getMessage()).isNotEmpty();
      }
    }
    assertThat(read).isBetween(ROUNDS / 50, ROUNDS - 1);
  }

  private byte[] mutate(byte[] seed) {
    byte[] mutant = seed.clone();
    for (int i = random.nextInt(4); i > 0; i--) {
      int at = random.nextInt(mutant.length);
      mutant[at] =
          switch (random.nextInt(4)) {
            case 0 -> 0;
            case 1 -> (byte) 0xff;
            case 2 -> (byte) random.nextInt();
            default -> (byte) (mutant[at] ^ 1 << random.nextInt(8));
          };
    }
    return switch (random.nextInt(8)) {
      case 0 -> Arrays.copyOf(mutant, random.nextInt(mutant.length));
      case 1 -> Arrays.copyOf(mutant, mutant.length + random.nextInt(20));
      default -> mutant;
    };
  }
}
