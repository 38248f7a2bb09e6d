package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * A reply of one piece. The data of a READ that succeeded follow.
 *
 * @param error 0, or see {@link NbdError}
 * @param cookie the request's
 */
public record SimpleReply(int error, long cookie) {
  /** Length on the wire. */
  public static final int BYTES = 16;

  /** Reads a reply and moves {@code in} past it. */
  public static SimpleReply parse(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < BYTES) {
      throw new NbdProtocolException("simple reply: shorter than 16 bytes");
    }
    Magic.require(Magic.SIMPLE_REPLY, in.getInt(), "simple reply");
    return new SimpleReply(in.getInt(), in.getLong());
  }

  /** Writes the 16 bytes. */
  public void write(ByteBuffer out) {
    write(out, error, cookie);
  }

  /** Writes a reply without making one first. */
  public static void write(ByteBuffer out, int error, long cookie) {
    out.putInt(Magic.SIMPLE_REPLY).putInt(error).putLong(cookie);
  }
}
