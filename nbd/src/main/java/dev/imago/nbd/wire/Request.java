package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * The begin of a request.
 *
 * @param flags see {@link CommandType}
 * @param type the command's number; see {@link CommandType}
 * @param cookie the client's name for the request, returned with the reply
 * @param offset in bytes; above 2^63 - 1 it is negative here
 * @param length in bytes, likewise
 */
public record Request(int flags, int type, long cookie, long offset, long length) {
  /** Length of a compact request on the wire. */
  public static final int BYTES = 28;

  /** Length of an extended request on the wire. */
  public static final int EXTENDED_BYTES = 32;

  /** Reads a compact request and moves {@code in} past it. */
  public static Request parse(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < BYTES) {
      throw new NbdProtocolException("request: shorter than 28 bytes");
    }
    Magic.require(Magic.REQUEST, in.getInt(), "request");
    return new Request(
        Short.toUnsignedInt(in.getShort()),
        Short.toUnsignedInt(in.getShort()),
        in.getLong(),
        in.getLong(),
        Integer.toUnsignedLong(in.getInt()));
  }

  /** Reads an extended request and moves {@code in} past it. */
  public static Request parseExtended(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < EXTENDED_BYTES) {
      throw new NbdProtocolException("extended request: shorter than 32 bytes");
    }
    Magic.require(Magic.EXTENDED_REQUEST, in.getInt(), "extended request");
    return new Request(
        Short.toUnsignedInt(in.getShort()),
        Short.toUnsignedInt(in.getShort()),
        in.getLong(),
        in.getLong(),
        in.getLong());
  }

  /** Writes a compact request. */
  public void write(ByteBuffer out) {
    out.putInt(Magic.REQUEST)
        .putShort((short) flags)
        .putShort((short) type)
        .putLong(cookie)
        .putLong(offset)
        .putInt((int) length);
  }

  /** Writes an extended request. */
  public void writeExtended(ByteBuffer out) {
    out.putInt(Magic.EXTENDED_REQUEST)
        .putShort((short) flags)
        .putShort((short) type)
        .putLong(cookie)
        .putLong(offset)
        .putLong(length);
  }

  /** Whether one of the flags is set. */
  public boolean has(int flag) {
    return (flags & flag) != 0;
  }
}
