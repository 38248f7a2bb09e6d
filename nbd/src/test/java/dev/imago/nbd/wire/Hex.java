package dev.imago.nbd.wire;

import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.function.Consumer;

/** Bytes as the protocol document writes them. */
final class Hex {
  private Hex() {}

  /** The bytes of these digits; blanks are skipped. */
  static ByteBuffer bytes(String digits) {
    return ByteBuffer.wrap(HexFormat.of().parseHex(plain(digits)));
  }

  /** The same digits without blanks. */
  static String plain(String digits) {
    return digits.replace(" ", "");
  }

  /** The digits of what something writes, which must be exactly so many bytes. */
  static String of(int bytes, Consumer<ByteBuffer> writer) {
    ByteBuffer out = ByteBuffer.allocate(bytes);
    writer.accept(out);
    if (out.hasRemaining()) {
      throw new AssertionError(out.remaining() + " of " + bytes + " bytes were not written");
    }
    return HexFormat.of().formatHex(out.array());
  }
}
