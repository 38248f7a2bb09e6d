package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * The begin of an option that a client sends; {@code length} bytes of data follow.
 *
 * @param option the number; see {@link OptionType}
 * @param length 0 to 2^32 - 1
 */
public record OptionHeader(int option, long length) {
  /** Length on the wire, magic number included. */
  public static final int BYTES = 16;

  /** Reads a header and moves {@code in} past it. */
  public static OptionHeader parse(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < BYTES) {
      throw new NbdProtocolException("option: shorter than 16 bytes");
    }
    Magic.require(Magic.OPTION, in.getLong(), "option");
    return new OptionHeader(in.getInt(), Integer.toUnsignedLong(in.getInt()));
  }

  /** Writes the 16 bytes. */
  public void write(ByteBuffer out) {
    out.putLong(Magic.OPTION).putInt(option).putInt((int) length);
  }
}
