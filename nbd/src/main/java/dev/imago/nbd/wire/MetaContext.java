package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * The data of a META_CONTEXT reply.
 *
 * @param id by which BLOCK_STATUS replies name the context; without meaning in a list
 * @param name {@code namespace:leaf}
 */
public record MetaContext(int id, String name) {
  /** Which parts are holes and zero: see {@link #HOLE}, {@link #ZERO}. */
  public static final String ALLOCATION = "base:allocation";

  /** How many layers down the data are; 0 where there are none. */
  public static final String DEPTH = "qemu:allocation-depth";

  /** A dirty bitmap's name follows; its extents' flags are 1 where it is dirty. */
  public static final String BITMAP = "qemu:dirty-bitmap:";

  /** Flags of {@link #ALLOCATION}'s extents: no host space is in use; reads as zero. */
  public static final int HOLE = 1, ZERO = 2;

  /** Flag of a dirty bitmap's extents. */
  public static final int DIRTY = 1;

  /** Takes the reply's data apart, all of it. */
  public static MetaContext parse(ByteBuffer data) throws NbdProtocolException {
    if (data.remaining() < 4) {
      throw new NbdProtocolException("meta context: its id is missing");
    }
    return new MetaContext(data.getInt(), Text.rest(data, "meta context"));
  }

  /** Length on the wire. */
  public int bytes() {
    return 4 + Text.bytes(name);
  }

  /** Writes {@link #bytes()} bytes. */
  public void write(ByteBuffer out) {
    Text.write(out.putInt(id), name);
  }
}
