package dev.imago.qcow2.ondisk;

import java.nio.ByteBuffer;
import java.util.HexFormat;

/** Records as hexadecimal digits; blanks are only for the eye. */
final class Hex {
  /** A version 3 header of 112 bytes: 1 MiB, clusters of 64 KiB (digest, section 17 A). */
  static final String HEADER =
      "514649fb 00000003 0000000000000000 00000000 00000010 0000000000100000"
          + "00000000 00000001 0000000000030000 0000000000010000 00000001 00000000"
          + "0000000000000000 0000000000000000 0000000000000000 0000000000000000"
          + "00000004 00000070 00000000 00000000";

  private Hex() {}

  static ByteBuffer bytes(String hex) {
    return ByteBuffer.wrap(HexFormat.of().parseHex(hex.replace(" ", "")));
  }

  static String hex(ByteBuffer bytes) {
    byte[] array = new byte[bytes.remaining()];
    bytes.duplicate().get(array);
    return HexFormat.of().formatHex(array);
  }

  static String plain(String hex) {
    return hex.replace(" ", "");
  }

  /** The header with other bytes from {@code at} on. */
  static ByteBuffer header(int at, String bytes) {
    String plain = plain(HEADER);
    String other = plain(bytes);
    return bytes(plain.substring(0, at * 2) + other + plain.substring(at * 2 + other.length()));
  }
}
