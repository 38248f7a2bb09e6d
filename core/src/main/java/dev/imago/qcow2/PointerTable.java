package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/**
 * The L1 table or the refcount table: entries that lead to clusters full of entries. Kept whole in
 * memory. Reading an entry needs no lock; everything else happens under the image's metadata lock.
 */
final class PointerTable {
  private static final VarHandle ENTRIES = MethodHandles.arrayElementVarHandle(long[].class);

  /** Entries are written back in units of 512 bytes, which no power cut tears. */
  private static final int SECTOR_ENTRIES = 512 / Geometry.ENTRY_BYTES;

  private final String name;
  private volatile long[] entries;
  private long hostOffset;
  private boolean moved;
  private final BitSet dirtySectors = new BitSet();

  PointerTable(String name, long[] entries, long hostOffset) {
    this.name = name;
    this.entries = entries;
    this.hostOffset = hostOffset;
  }

  /** The specification's name of this table. */
  String name() {
    return name;
  }

  /** The number of entries. */
  int length() {
    return entries.length;
  }

  /** An entry; 0 behind the end, where nothing is mapped. */
  long get(long index) {
    long[] now = entries;
    return index < now.length ? (long) ENTRIES.getAcquire(now, (int) index) : 0;
  }

  /** The entries themselves, for copying. Under the metadata lock. */
  long[] entries() {
    return entries;
  }

  /** The host offset that an entry leads to; 0 if there is nothing. */
  long target(long index) {
    return get(index) & Geometry.OFFSET_MASK;
  }

  /** Leaves of each entry only where it leads. */
  static void clearFlags(long[] entries) {
    for (int i = 0; i < entries.length; i++) {
      entries[i] &= Geometry.OFFSET_MASK;
    }
  }

  /** Where the table lies. */
  long hostOffset() {
    return hostOffset;
  }

  void set(int index, long entry) {
    ENTRIES.setRelease(entries, index, entry);
    dirtySectors.set(index / SECTOR_ENTRIES);
  }

  /** Goes on with a longer table somewhere else. */
  void moveTo(long newHostOffset, long[] longer) {
    entries = longer;
    hostOffset = newHostOffset;
    moved = true;
    dirtySectors.clear();
  }

  /** Replaces everything by what was read anew. */
  void reload(long newHostOffset, long[] fresh) {
    entries = fresh;
    hostOffset = newHostOffset;
    moved = false;
    dirtySectors.clear();
  }

  boolean dirty() {
    return moved || !dirtySectors.isEmpty();
  }

  /** Copies what has changed since the last call; later changes belong to the next one. */
  Sealed seal() {
    long[] now = entries;
    List<Piece> pieces = new ArrayList<>();
    if (moved) {
      pieces.add(new Piece(hostOffset, now.clone()));
    } else {
      for (int from = dirtySectors.nextSetBit(0); from >= 0; ) {
        int to = dirtySectors.nextClearBit(from);
        int first = from * SECTOR_ENTRIES;
        int end = Math.min(to * SECTOR_ENTRIES, now.length);
        pieces.add(
            new Piece(
                hostOffset + (long) first * Geometry.ENTRY_BYTES,
                Arrays.copyOfRange(now, first, end)));
        from = dirtySectors.nextSetBit(to);
      }
    }
    Sealed sealed = new Sealed(pieces, moved, hostOffset, now.length);
    moved = false;
    dirtySectors.clear();
    return sealed;
  }

  /**
   * What one flush writes of a table.
   *
   * @param moved whether the header must point to it anew
   */
  record Sealed(List<Piece> pieces, boolean moved, long hostOffset, int length) {}

  /** Entries that go to one place. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  record Piece(long hostOffset, long[] entries) {}
}
