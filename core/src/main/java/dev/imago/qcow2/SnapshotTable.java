package dev.imago.qcow2;

import dev.imago.image.ImageFormatException;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Reads the snapshot table, entry by entry, in little memory. */
final class SnapshotTable {
  private static final int CHUNK = 2 * SnapshotEntry.MAX_BYTES;

  private SnapshotTable() {}

  /** Takes what is read. */
  interface Visitor {
    /**
     * Called for each entry.
     *
     * @param at host offset of the entry
     */
    void entry(SnapshotEntry entry, long at) throws IOException;
  }

  /**
   * Shows all entries to {@code visitor}.
   *
   * @return bytes of the table, with padding
   * @throws ImageFormatException if an entry has too much extra data, or the table is too long
   */
  static long read(Storage storage, Header header, Visitor visitor) throws IOException {
    long start = header.snapshotsOffset();
    long at = start;
    ByteBuffer buffer = ByteBuffer.allocate(CHUNK).limit(0);
    for (long i = 0; i < header.snapshotCount(); i++) {
      if (buffer.remaining() < SnapshotEntry.MAX_BYTES) {
        // What the file does not reach reads as zero: entries of nothing.
        storage.read(buffer.clear(), at);
        buffer.flip();
      }
      int before = buffer.position();
      SnapshotEntry entry = SnapshotEntry.parse(buffer, at, storage.name());
      visitor.entry(entry, at);
      at += entry.length();
      if (at - start > SnapshotEntry.MAX_TABLE_BYTES) {
        throw new ImageFormatException(
            storage.name(),
            start,
            "snapshot table",
            "longer than %d bytes".formatted(SnapshotEntry.MAX_TABLE_BYTES));
      }
      buffer.position(before + entry.length());
    }
    return at - start;
  }

  /** Told of what a lenient reader left out. */
  interface Dropped {
    void said(String what);
  }

  /**
   * Shows all entries to {@code visitor}, with no more than the known extra data where there is
   * more than is allowed; ends where the table would become too long.
   *
   * @return bytes of the table as it is, with padding
   */
  static long readLeniently(Storage storage, Header header, Visitor visitor, Dropped dropped)
      throws IOException {
    long start = header.snapshotsOffset();
    long at = start;
    ByteBuffer fixed = ByteBuffer.allocate(SnapshotEntry.FIXED_BYTES);
    for (long i = 0; i < header.snapshotCount(); i++) {
      storage.read(fixed.clear(), at);
      long extra = SnapshotEntry.extraLength(fixed.flip());
      long rest = SnapshotEntry.idAndNameLength(fixed);
      long length = SnapshotEntry.FIXED_BYTES + extra + rest + 7 & -8;
      if (at - start + length > SnapshotEntry.MAX_TABLE_BYTES) {
        dropped.said(
            "Discarding %d overhanging snapshots (snapshot table is too big)"
                .formatted(header.snapshotCount() - i));
        break;
      }
      int kept = (int) extra;
      if (extra > SnapshotEntry.MAX_EXTRA_BYTES) {
        dropped.said(
            "Discarding too much extra metadata in snapshot table entry %d (%d > %d)"
                .formatted(i, extra, SnapshotEntry.MAX_EXTRA_BYTES));
        kept = SnapshotEntry.NEW_EXTRA_BYTES;
      }
      ByteBuffer entry = ByteBuffer.allocate(SnapshotEntry.FIXED_BYTES + kept + (int) rest);
      entry.limit(SnapshotEntry.FIXED_BYTES + kept);
      storage.read(entry, at);
      entry.limit(entry.capacity());
      storage.read(entry, at + SnapshotEntry.FIXED_BYTES + extra);
      SnapshotEntry.setExtraLength(entry, kept);
      visitor.entry(SnapshotEntry.parse(entry.flip(), at, storage.name()), at);
      at += length;
    }
    return at - start;
  }
}
