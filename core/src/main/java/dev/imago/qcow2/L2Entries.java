package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Shows the entries of an L2 table as they are on the disk, past all caches. */
final class L2Entries {
  private L2Entries() {}

  /** Takes entries. */
  interface Visitor {
    /**
     * Called in ascending order for entries that are not all zero. Does not use the reader.
     *
     * @param at host offset of the entry
     */
    void entry(long at, L2Entry entry) throws IOException;
  }

  /** Shows a table; what is a hole or behind the file's end has no entries. */
  static void forEach(TableReader reader, long table, Geometry g, Visitor visitor)
      throws IOException {
    if (reader.isHole(table, g.clusterSize())) {
      return;
    }
    ByteBuffer bytes = reader.read(table, g.clusterSize());
    for (int at = 0; at < bytes.limit(); at += g.l2EntryBytes()) {
      long descriptor = bytes.getLong(at);
      long bitmap = g.extendedL2() ? bytes.getLong(at + Geometry.ENTRY_BYTES) : 0;
      if ((descriptor | bitmap) != 0) {
        visitor.entry(table + at, new L2Entry(descriptor, bitmap));
      }
    }
  }
}
