package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * The begin of a chunk of a structured or extended reply; {@code length} bytes of payload follow.
 *
 * @param flags {@link #DONE} or 0
 * @param type see {@link Chunk}
 * @param cookie the request's
 * @param offset the request's; in an extended reply alone, else 0
 * @param length of the payload; above 2^63 - 1 it is negative here
 */
public record ChunkHeader(int flags, int type, long cookie, long offset, long length) {
  /** Length in a structured reply. */
  public static final int BYTES = 20;

  /** Length in an extended reply. */
  public static final int EXTENDED_BYTES = 32;

  /** Flag: no more chunks follow. */
  public static final int DONE = 1;

  /** Reads the header of a structured reply and moves {@code in} past it. */
  public static ChunkHeader parse(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < BYTES) {
      throw new NbdProtocolException("structured reply: shorter than 20 bytes");
    }
    Magic.require(Magic.STRUCTURED_REPLY, in.getInt(), "structured reply");
    return new ChunkHeader(
        Short.toUnsignedInt(in.getShort()),
        Short.toUnsignedInt(in.getShort()),
        in.getLong(),
        0,
        Integer.toUnsignedLong(in.getInt()));
  }

  /** Reads the header of an extended reply and moves {@code in} past it. */
  public static ChunkHeader parseExtended(ByteBuffer in) throws NbdProtocolException {
    if (in.remaining() < EXTENDED_BYTES) {
      throw new NbdProtocolException("extended reply: shorter than 32 bytes");
    }
    Magic.require(Magic.EXTENDED_REPLY, in.getInt(), "extended reply");
    return new ChunkHeader(
        Short.toUnsignedInt(in.getShort()),
        Short.toUnsignedInt(in.getShort()),
        in.getLong(),
        in.getLong(),
        in.getLong());
  }

  /** Writes the header of a structured reply. */
  public void write(ByteBuffer out) {
    out.putInt(Magic.STRUCTURED_REPLY)
        .putShort((short) flags)
        .putShort((short) type)
        .putLong(cookie)
        .putInt((int) length);
  }

  /** Writes the header of an extended reply. */
  public void writeExtended(ByteBuffer out) {
    out.putInt(Magic.EXTENDED_REPLY)
        .putShort((short) flags)
        .putShort((short) type)
        .putLong(cookie)
        .putLong(offset)
        .putLong(length);
  }

  /** Whether this is the last chunk of its reply. */
  public boolean done() {
    return (flags & DONE) != 0;
  }
}
