package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.BitmapTableEntry;
import dev.imago.qcow2.ondisk.BitmapsExtension;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * Gives tables a place of their own that damage has made share one with something else: the
 * snapshot table, L1 tables, tables and bits of bitmaps, L2 tables. What else refers to the old
 * place keeps it, with all that is there: guest data is not moved, which nobody could do in an
 * encrypted image. The refcount structures are not among them; they are made anew.
 *
 * <p>An L2 table that does not look like one, but could be set right, is copied too: the copy may
 * be changed, while the old place may be some guest's data.
 *
 * <p>One kind of table is moved in a run, as each may lie in another; the caller counts anew
 * between runs. Spec: qcow2 digest, section 14.
 */
final class Relocation {
  private final Metadata metadata;
  private final Header header;
  private final HeaderCluster cluster;
  private final Geometry g;
  private final ReferenceWalk walk;
  private final Set<Long> shared;
  private final TableReader reader;
  private final StaleBitmaps bitmaps;
  private final Findings findings;
  private final Relocator relocator;
  private final Set<Long> copies = new HashSet<>();
  private long done;

  /**
   * A relocation to come, of an image whose counts are right.
   *
   * @param walk has counted everything
   * @param shared numbers of clusters that hold a structure, and to which something else refers too
   */
  Relocation(
      Metadata metadata,
      HeaderCluster cluster,
      ReferenceWalk walk,
      Set<Long> shared,
      TableReader reader,
      StaleBitmaps bitmaps,
      Findings findings) {
    this.metadata = metadata;
    this.cluster = cluster;
    this.header = cluster.header();
    this.g = header.geometry();
    this.walk = walk;
    this.shared = shared;
    this.reader = reader;
    this.bitmaps = bitmaps;
    this.findings = findings;
    this.relocator = new Relocator(metadata);
  }

  /** Moves what has to be moved of the first kind of which there is anything; says how much. */
  long run() throws IOException {
    if (bitmaps.giveUp(shared)) {
      return 1;
    }
    activeL1();
    if (done == 0) {
      snapshotTable();
    }
    if (done == 0) {
      snapshotL1();
      bitmapTables();
    }
    if (done == 0) {
      l2Tables();
    }
    relocator.finish();
    return done;
  }

  /** Host offsets of L2 tables that were made by copying: they hold nothing but a table. */
  Set<Long> copies() {
    return copies;
  }

  private boolean shared(long hostOffset, long bytes) {
    long end = g.clusterIndex(hostOffset) + g.clusters(bytes);
    for (long number = g.clusterIndex(hostOffset); number < end; number++) {
      if (shared.contains(number)) {
        return true;
      }
    }
    return false;
  }

  private long move(String what, long hostOffset, long bytes, long references) throws IOException {
    bitmaps.distrust(shared);
    long clusters = g.clusters(bytes);
    long place = relocator.copy(hostOffset, clusters, references);
    done++;
    findings.note(
        "Repairing cluster %d: %s has been copied to %s",
        g.clusterIndex(hostOffset),
        what,
        clusters == 1 ? "a cluster of its own" : "clusters of its own");
    return place;
  }

  private void activeL1() throws IOException {
    PointerTable l1 = metadata.l1;
    long bytes = (long) l1.length() * Geometry.ENTRY_BYTES;
    if (bytes > 0 && shared(l1.hostOffset(), bytes)) {
      long place = move("the active L1 table", l1.hostOffset(), bytes, 1);
      metadata.lock.lock();
      try {
        l1.moveTo(place, l1.entries().clone());
      } finally {
        metadata.lock.unlock();
      }
    }
  }

  private void snapshotTable() throws IOException {
    if (header.snapshotCount() == 0) {
      return;
    }
    long at = header.snapshotsOffset();
    long bytes =
        SnapshotTable.readLeniently(metadata.storage, header, (entry, where) -> {}, dropped -> {});
    if (shared(at, bytes)) {
      long place = move("the snapshot table", at, bytes, 1);
      metadata.lock.lock();
      try {
        metadata.durability.setSnapshots((int) header.snapshotCount(), place);
      } finally {
        metadata.lock.unlock();
      }
    }
  }

  private void snapshotL1() throws IOException {
    if (header.snapshotCount() > 0) {
      SnapshotTable.readLeniently(metadata.storage, header, this::snapshotL1, dropped -> {});
    }
  }

  private void snapshotL1(SnapshotEntry entry, long at) throws IOException {
    long hostOffset = entry.l1TableOffset();
    long bytes = entry.l1Size() * Geometry.ENTRY_BYTES;
    boolean counted =
        g.inCluster(hostOffset) == 0
            && hostOffset >= 0
            && entry.l1Size() <= Geometry.MAX_L1_ENTRIES
            && walk.holds(hostOffset, bytes);
    if (bytes > 0 && counted && shared(hostOffset, bytes)) {
      String what = "the L1 table of snapshot %s (%s)".formatted(entry.id(), entry.name());
      relocator.lead(at, move(what, hostOffset, bytes, 1));
    }
  }

  private void bitmapTables() throws IOException {
    BitmapsExtension extension = cluster.bitmaps().orElse(null);
    if (extension == null) {
      return;
    }
    long at = extension.directoryOffset();
    for (BitmapDirectoryEntry entry :
        Qcow2Info.readBitmapDirectory(metadata.storage, cluster, extension)) {
      long bytes = entry.tableSize() * Geometry.ENTRY_BYTES;
      if (bytes > 0
          && walk.holds(entry.tableOffset(), bytes)
          && shared(entry.tableOffset(), bytes)) {
        String what = "the table of bitmap '%s'".formatted(entry.name());
        relocator.lead(at, move(what, entry.tableOffset(), bytes, 1));
      } else if (bytes > 0 && walk.holds(entry.tableOffset(), bytes)) {
        bits(entry);
      }
      at += entry.length();
    }
  }

  private void bits(BitmapDirectoryEntry bitmap) throws IOException {
    String what = "a part of bitmap '%s'".formatted(bitmap.name());
    reader.words(
        bitmap.tableOffset(),
        bitmap.tableSize(),
        (index, word) -> {
          long hostOffset = BitmapTableEntry.hostOffset(word);
          if (hostOffset != 0
              && !BitmapTableEntry.corrupt(word, g)
              && walk.holds(hostOffset, g.clusterSize())
              && shared(hostOffset, g.clusterSize())) {
            long place = move(what, hostOffset, g.clusterSize(), 1);
            relocator.lead(bitmap.tableOffset() + index * Geometry.ENTRY_BYTES, place);
          }
        });
  }

  private void l2Tables() throws IOException {
    Map<Long, Long> places = new HashMap<>();
    walk.l2Tables()
        .forEach(
            (hostOffset, times, active) -> {
              boolean move = shared.contains(g.clusterIndex(hostOffset)) || masked(hostOffset);
              if (move && Long.compareUnsigned(times, g.maxRefcount()) <= 0) {
                String what = active ? "an L2 table" : "an L2 table of a snapshot";
                places.put(hostOffset, move(what, hostOffset, g.clusterSize(), times));
              }
            });
    if (places.isEmpty()) {
      return;
    }
    copies.addAll(places.values());
    lead(header.l1TableOffset(), header.l1Size(), true, places);
    for (long[] l1 : walk.snapshotL1Tables()) {
      lead(l1[0], l1[1] / Geometry.ENTRY_BYTES, false, places);
    }
  }

  /** Whether a table would be whole after a repair that must not be done where it is. */
  private boolean masked(long hostOffset) throws IOException {
    if (reader.isHole(hostOffset, g.clusterSize())) {
      return false;
    }
    ByteBuffer table = reader.read(hostOffset, g.clusterSize());
    return !EntryRules.looksLikeL2Table(table, g)
        && EntryRules.canBeMadeWhole(table, g, walk.clusters());
  }

  private void lead(long hostOffset, long entries, boolean active, Map<Long, Long> places)
      throws IOException {
    reader.words(
        hostOffset,
        entries,
        (index, word) -> {
          Long place = places.get(word & Geometry.OFFSET_MASK);
          if (place != null) {
            boolean own = active && metadata.counts.count(g.clusterIndex(place)) == 1;
            relocator.lead(
                hostOffset + index * Geometry.ENTRY_BYTES, own ? place | Geometry.COPIED : place);
          }
        });
  }
}
