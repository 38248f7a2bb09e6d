package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * The begin of a server's reply to an option; {@code length} bytes of data follow.
 *
 * @param option the number of the option that is answered
 * @param type see {@link OptionReplyType}
 * @param length 0 to 2^32 - 1
 */
public record OptionReplyHeader(int option, int type, long length) {
  /** Length on the wire, magic number included. */
  public static final int BYTES = 20;

  /** Reads a header and moves {@code in} past it. */
  public static OptionReplyHeader parse(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < BYTES) {
      throw new NbdProtocolException("reply to an option: shorter than 20 bytes");
    }
    Magic.require(Magic.OPTION_REPLY, in.getLong(), "reply to an option");
    return new OptionReplyHeader(in.getInt(), in.getInt(), Integer.toUnsignedLong(in.getInt()));
  }

  /** Writes the 20 bytes. */
  public void write(ByteBuffer out) {
    out.putLong(Magic.OPTION_REPLY).putInt(option).putInt(type).putInt((int) length);
  }
}
