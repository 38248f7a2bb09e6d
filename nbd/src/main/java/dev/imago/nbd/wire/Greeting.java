package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * What a server says first: two magic numbers and the handshake flags. The client answers with its
 * flags alone, 32 bits.
 *
 * @param flags {@link #FIXED_NEWSTYLE}, {@link #NO_ZEROES} and what else there may be
 */
public record Greeting(int flags) {
  /** Length on the wire. */
  public static final int BYTES = 18;

  /** Length of the client's answer. */
  public static final int CLIENT_FLAGS_BYTES = 4;

  /** Unknown options are answered, and do not end the connection. The client's flag is the same. */
  public static final int FIXED_NEWSTYLE = 1;

  /** EXPORT_NAME is answered without 124 zeroes. The client's flag is the same. */
  public static final int NO_ZEROES = 2;

  /** Reads a greeting and moves {@code in} past it. */
  public static Greeting parse(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < BYTES) {
      throw new NbdProtocolException("greeting: shorter than 18 bytes");
    }
    Magic.require(Magic.NBD, in.getLong(), "greeting");
    Magic.require(Magic.OPTION, in.getLong(), "greeting: second half");
    return new Greeting(Short.toUnsignedInt(in.getShort()));
  }

  /** Writes the 18 bytes. */
  public void write(ByteBuffer out) {
    out.putLong(Magic.NBD).putLong(Magic.OPTION).putShort((short) flags);
  }
}
