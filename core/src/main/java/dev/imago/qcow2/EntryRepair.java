package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Set;

/**
 * Sets entries of L1 and L2 tables right, each for itself, where {@link EntryRules} knows how.
 * Nothing is written to a table that shares its cluster with something else, nor to what does not
 * look like a table.
 */
final class EntryRepair {
  private static final int SECTOR = 512;

  private final Storage storage;
  private final Header header;
  private final Geometry g;
  private final TableReader reader;
  private final ReferenceWalk walk;
  private final Set<Long> untouchable;
  private final Set<Long> copies;
  private final StaleBitmaps bitmaps;
  private final Findings findings;
  private boolean masked;

  /**
   * A repair to come.
   *
   * @param walk has counted everything
   * @param untouchable numbers of clusters that hold something else too
   * @param copies host offsets of L2 tables that are tables whatever they look like
   */
  EntryRepair(
      Storage storage,
      Header header,
      TableReader reader,
      ReferenceWalk walk,
      Set<Long> untouchable,
      Set<Long> copies,
      StaleBitmaps bitmaps,
      Findings findings) {
    this.storage = storage;
    this.header = header;
    this.g = header.geometry();
    this.reader = reader;
    this.walk = walk;
    this.untouchable = untouchable;
    this.copies = copies;
    this.bitmaps = bitmaps;
    this.findings = findings;
  }

  /**
   * Repairs what can be repaired, and flushes.
   *
   * @return whether anything was written
   */
  boolean run() throws IOException {
    final long before = findings.fixed();
    l1(header.l1TableOffset(), header.l1Size());
    for (long[] table : walk.snapshotL1Tables()) {
      l1(table[0], table[1] / Geometry.ENTRY_BYTES);
    }
    walk.l2Tables()
        .forEach(
            (hostOffset, times, active) -> {
              boolean own = !untouchable.contains(g.clusterIndex(hostOffset));
              if (own && !reader.isHole(hostOffset, g.clusterSize())) {
                l2(hostOffset);
              }
            });
    boolean wrote = findings.fixed() > before;
    if (wrote) {
      storage.flush();
    }
    return wrote;
  }

  /** Whether a table was left alone that a copy of could be repaired. */
  boolean masked() {
    return masked;
  }

  private void l1(long hostOffset, long entries) throws IOException {
    reader.words(
        hostOffset,
        entries,
        (index, word) -> {
          long right = EntryRules.repairedL1(word);
          long at = hostOffset + index * Geometry.ENTRY_BYTES;
          if (right != word && !untouchable.contains(g.clusterIndex(at))) {
            bitmaps.distrust(untouchable);
            findings.fixed("Repairing L1 entry with reserved bits set: %x", word);
            storage.write(ByteBuffer.allocate(Geometry.ENTRY_BYTES).putLong(right).flip(), at);
          }
        });
  }

  private void l2(long hostOffset) throws IOException {
    ByteBuffer table = reader.read(hostOffset, g.clusterSize());
    if (!EntryRules.looksLikeL2Table(table, g) && !copies.contains(hostOffset)) {
      masked |= EntryRules.canBeMadeWhole(table, g, walk.clusters());
      return;
    }
    int width = g.l2EntryBytes();
    for (int sector = 0; sector < table.limit(); sector += SECTOR) {
      boolean changed = false;
      for (int at = sector; at < sector + SECTOR; at += width) {
        long word = table.getLong(at);
        long bitmap = g.extendedL2() ? table.getLong(at + Long.BYTES) : 0;
        long right = EntryRules.repairedL2(word, bitmap, g);
        if (right != word) {
          tell(word, right);
          table.putLong(at, right);
          changed = true;
        }
      }
      if (changed) {
        bitmaps.distrust(untouchable);
        storage.write(table.slice(sector, SECTOR), hostOffset + sector);
      }
    }
  }

  private void tell(long word, long right) {
    if ((word & Geometry.COMPRESSED) != 0) {
      findings.fixed(
          "Repairing coffset=0x%x: copied flag must never be set for compressed clusters",
          g.compressedOffset(word));
    } else if (g.inCluster(word & Geometry.OFFSET_MASK) != 0
        && (right & Geometry.OFFSET_MASK) == 0) {
      findings.fixed(
          "Repairing offset=%x: Preallocated cluster is not properly aligned; L2 entry corrupted.",
          word & Geometry.OFFSET_MASK);
    } else if ((word & Geometry.L2_RESERVED) != 0) {
      findings.fixed("Repairing l2 entry with reserved bits set: %x", word);
    } else {
      findings.fixed("Repairing zero cluster entry in pre-v3 image: l2_entry=%x", word);
    }
  }
}
