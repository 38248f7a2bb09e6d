package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/** The data of an INFO reply: a piece of information about an export. */
public sealed interface ExportInfo {
  /** Numbers of the kinds, on the wire and in {@link ExportQuery}. */
  int EXPORT = 0, NAME = 1, DESCRIPTION = 2, BLOCK_SIZE = 3;

  /**
   * Its size and what it can do. Always sent.
   *
   * @param size in bytes, not negative
   * @param flags see {@link TransmissionFlags}
   */
  record Export(long size, int flags) implements ExportInfo {}

  /** The name that the server would use. */
  record Name(String name) implements ExportInfo {}

  /** A text for people. */
  record Description(String text) implements ExportInfo {}

  /**
   * Which requests are allowed.
   *
   * @param minimum offsets and lengths are multiples of it: a power of two up to 64 KiB
   * @param preferred a power of two, at least 512 and {@code minimum}
   * @param maximum bytes of one READ or WRITE; 2^32 - 1 for no limit
   */
  record BlockSize(long minimum, long preferred, long maximum) implements ExportInfo {}

  /** A kind that is not known here, to be ignored. */
  record Other(int type) implements ExportInfo {}

  /** Takes the data of an INFO reply apart, all of it. */
  static ExportInfo parse(ByteBuffer data) throws NbdProtocolException {
    if (data.remaining() < 2) {
      throw new NbdProtocolException("information about an export: its type is missing");
    }
    int type = Short.toUnsignedInt(data.getShort());
    return switch (type) {
      case EXPORT -> {
        requireLength(data, 10, "size and flags of an export");
        long size = data.getLong();
        if (size < 0) {
          throw new NbdProtocolException(
              "size of an export: %s bytes; at most 2^63 - 1 are allowed"
                  .formatted(Long.toUnsignedString(size)));
        }
        yield new Export(size, Short.toUnsignedInt(data.getShort()));
      }
      case NAME -> new Name(Text.rest(data, "name of an export"));
      case DESCRIPTION -> new Description(Text.rest(data, "description of an export"));
      case BLOCK_SIZE -> {
        requireLength(data, 12, "block sizes of an export");
        yield blockSize(data);
      }
      default -> new Other(type);
    };
  }

  private static BlockSize blockSize(ByteBuffer data) throws NbdProtocolException {
    long minimum = Integer.toUnsignedLong(data.getInt());
    long preferred = Integer.toUnsignedLong(data.getInt());
    long maximum = Integer.toUnsignedLong(data.getInt());
    if (Long.bitCount(minimum) != 1
        || minimum > 1 << 16
        || Long.bitCount(preferred) != 1
        || preferred < Math.max(minimum, 512)
        || maximum < preferred) {
      throw new NbdProtocolException(
          ("block sizes of an export: minimum %d, preferred %d, maximum %d; allowed are powers of"
                  + " two, minimum up to 65536, preferred from 512 and minimum, maximum from"
                  + " preferred")
              .formatted(minimum, preferred, maximum));
    }
    return new BlockSize(minimum, preferred, maximum);
  }

  private static void requireLength(ByteBuffer data, int length, String what)
      throws NbdProtocolException {
    if (data.remaining() != length) {
      throw new NbdProtocolException(
          "%s: %d bytes, not %d".formatted(what, data.remaining(), length));
    }
  }

  /** Length on the wire, the type included. */
  default int bytes() {
    return switch (this) {
      case Export _ -> 12;
      case Name n -> 2 + Text.bytes(n.name());
      case Description d -> 2 + Text.bytes(d.text());
      case BlockSize _ -> 14;
      case Other _ -> 2;
    };
  }

  /** Writes {@link #bytes()} bytes. */
  default void write(ByteBuffer out) {
    switch (this) {
      case Export e -> out.putShort((short) EXPORT).putLong(e.size()).putShort((short) e.flags());
      case Name n -> Text.write(out.putShort((short) NAME), n.name());
      case Description d -> Text.write(out.putShort((short) DESCRIPTION), d.text());
      case BlockSize b ->
          out.putShort((short) BLOCK_SIZE)
              .putInt((int) b.minimum())
              .putInt((int) b.preferred())
              .putInt((int) b.maximum());
      case Other o -> out.putShort((short) o.type());
    }
  }
}
