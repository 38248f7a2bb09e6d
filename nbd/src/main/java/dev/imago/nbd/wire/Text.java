package dev.imago.nbd.wire;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * Strings of the protocol: UTF-8 without NUL, at most {@link Limits#STRING} bytes, their length
 * before them or the rest of the message.
 */
public final class Text {
  private Text() {}

  /**
   * Reads a string of {@code length} bytes and moves {@code in} past it.
   *
   * @param length from the message, unchecked
   * @param what the string's name in error messages
   */
  public static String read(ByteBuffer in, long length, String what) throws NbdProtocolException {
    if (length < 0 || length > in.remaining()) {
      throw new NbdProtocolException(
          "%s: %d bytes long, but only %d follow".formatted(what, length, in.remaining()));
    }
    if (length > Limits.STRING) {
      throw new NbdProtocolException(
          "%s: %d bytes long; at most %d are allowed".formatted(what, length, Limits.STRING));
    }
    ByteBuffer bytes = in.slice(in.position(), (int) length);
    in.position(in.position() + (int) length);
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
      if (text.indexOf('\0') < 0) {
        return text;
      }
    } catch (CharacterCodingException e) {
      throw new NbdProtocolException(what + ": not UTF-8");
    }
    throw new NbdProtocolException(what + ": has a NUL in it");
  }

  /** Reads a string that fills the rest of the message. */
  public static String rest(ByteBuffer in, String what) throws NbdProtocolException {
    return read(in, in.remaining(), what);
  }

  /** Reads a string with its length, 32 bits, before it. */
  static String counted(ByteBuffer in, String what) throws NbdProtocolException {
    if (in.remaining() < 4) {
      throw new NbdProtocolException(what + ": its length is missing");
    }
    return read(in, Integer.toUnsignedLong(in.getInt()), what);
  }

  /** Writes a string with its length before it. */
  static void writeCounted(ByteBuffer out, String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    out.putInt(bytes.length).put(bytes);
  }

  /** Writes a string, and nothing else. */
  static void write(ByteBuffer out, String text) {
    out.put(text.getBytes(StandardCharsets.UTF_8));
  }

  /** How many bytes a string takes on the wire, without its length. */
  public static int bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  /**
   * A string of the peer's as it may be shown: control characters and what else could mislead a
   * terminal or a log become {@code ?}, and it is cut after 256 characters.
   */
  public static String printable(String text) {
    StringBuilder shown = new StringBuilder();
    int[] points = text.codePoints().limit(257).toArray();
    for (int i = 0; i < Math.min(points.length, 256); i++) {
      shown.appendCodePoint(isPrintable(points[i]) ? points[i] : '?');
    }
    return points.length > 256 ? shown.append("...").toString() : shown.toString();
  }

  private static boolean isPrintable(int point) {
    return switch (Character.getType(point)) {
      case Character.CONTROL,
          Character.FORMAT,
          Character.SURROGATE,
          Character.UNASSIGNED,
          Character.PRIVATE_USE,
          Character.LINE_SEPARATOR,
          Character.PARAGRAPH_SEPARATOR ->
          false;
      default -> true;
    };
  }
}
