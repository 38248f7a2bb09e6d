package dev.imago.qcow2;

import dev.imago.image.Progress;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import java.io.IOException;

/**
 * The L2 tables of an image's disk and of its snapshots, as they are on the disk: all must be
 * written before. Each of them once, however many L1 entries lead to it.
 */
final class AllTables {
  private final Metadata metadata;
  private final TableSet tables = new TableSet();

  private AllTables(Metadata metadata) {
    this.metadata = metadata;
  }

  /**
   * Finds them, and judges everything that they say.
   *
   * @throws dev.imago.image.CorruptImageException if an entry is bad, or a count smaller than the
   *     references there are
   */
  static AllTables of(Metadata metadata) throws IOException {
    AllTables all = new AllTables(metadata);
    CountChanges counts = new CountChanges(metadata);
    all.add(metadata.l1.entries(), counts, true);
    for (SnapshotEntry snapshot : metadata.snapshots.entries()) {
      all.add(metadata.snapshots.l1(snapshot), counts, false);
    }
    counts.requirePossible();
    if (all.tables.size() > TableSet.MAX_TABLES) {
      throw new UnsupportedFeatureException(
          metadata.name,
          Header.AT_L1,
          "l1_size",
          "more than %d L2 tables; so many are not looked through".formatted(TableSet.MAX_TABLES));
    }
    return all;
  }

  private void add(long[] l1, CountChanges counts, boolean active) throws IOException {
    counts.lose(l1);
    for (long entry : l1) {
      if ((entry & Geometry.OFFSET_MASK) != 0) {
        tables.add(entry & Geometry.OFFSET_MASK, 1, active);
      }
    }
  }

  /** Takes entries. */
  interface Visitor {
    /**
     * Called for entries that are not all zero.
     *
     * @param table host offset of the table
     * @param users how many L1 entries lead to it; 65535 stands for more, too
     * @param active whether the disk's L1 table is among them
     * @param at host offset of the entry
     */
    void entry(long table, int users, boolean active, long at, L2Entry entry) throws IOException;
  }

  /** Shows all entries, table by table. */
  void entries(Visitor visitor, Progress progress) throws IOException {
    int[] done = {0};
    int all = Math.max(1, tables.size());
    try (TableReader reader = new TableReader(metadata.storage, metadata.storage.size())) {
      tables.forEach(
          (table, users, active) -> {
            L2Entries.forEach(
                reader,
                table,
                metadata.geometry,
                (at, entry) -> visitor.entry(table, users, active, at, entry));
            progress.at(++done[0], all);
          });
    }
    progress.at(all, all);
  }
}
