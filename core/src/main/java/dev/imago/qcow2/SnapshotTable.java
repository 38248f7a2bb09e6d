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
}
