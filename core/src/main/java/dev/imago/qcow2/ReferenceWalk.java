package dev.imago.qcow2;

import dev.imago.image.ImageException;
import dev.imago.image.ImageFormatException;
import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.BitmapTableEntry;
import dev.imago.qcow2.ondisk.BitmapsExtension;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.LuksPointer;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Counts every reference to every host cluster, but for those from the refcount table: header, L1
 * and L2 tables with all they lead to, snapshots, bitmaps, the LUKS header. Reads only; whatever it
 * meets, it goes on, and looks at each table once, however many lead to it.
 *
 * <p>Spec: qcow2 digest, sections 5 and 14.
 */
final class ReferenceWalk {
  /** Memory for counts in bytes, but for those of clusters that are in use. */
  static final long MEMORY = 128L << 20;

  /**
   * A file that was cut off may have been so many times as long, and then so many clusters more.
   */
  private static final long NEAR_FACTOR = 4;

  private static final long NEAR = 1 << 16;

  private final Storage storage;
  private final HeaderCluster cluster;
  private final Header header;
  private final Geometry g;
  private final long fileSize;
  private final TableReader reader;
  private final Findings findings;
  private final ReferenceCounts counts;
  private final TableSet l2Tables = new TableSet();
  private final List<Role> roles = new ArrayList<>();
  private final L2Walk l2Walk;
  private final List<long[]> snapshotL1Tables = new ArrayList<>();
  private final List<BitmapTable> bitmapTables = new ArrayList<>();
  private final boolean forRepair;
  private boolean unflagged;
  private boolean incomplete;
  private long beyondEnd;

  /** Clusters that belong to one structure, whose references are known. */
  record Role(String name, long firstCluster, long clusters) {}

  /** A part of bitmap tables, with the number of bitmaps that have it. */
  private record BitmapTable(long hostOffset, long entries, int times) {}

  /**
   * A walk to come.
   *
   * @param forRepair whether what a repair of everything sets right is taken as if it were:
   *     snapshots' extra data may be too long or too short
   */
  ReferenceWalk(
      Storage storage,
      HeaderCluster cluster,
      long fileSize,
      TableReader reader,
      Findings findings,
      boolean forRepair)
      throws IOException {
    this.storage = storage;
    this.forRepair = forRepair;
    this.cluster = cluster;
    this.header = cluster.header();
    this.g = header.geometry();
    this.fileSize = fileSize;
    this.reader = reader;
    this.findings = findings;
    long inUse = Math.max(0, storage.allocatedBytes());
    // A table of a few entries may begin right behind the end: what is missing reads as zero.
    counts = new ReferenceCounts(g.clusters(fileSize) + 1, MEMORY + g.clusterIndex(inUse));
    l2Walk = new L2Walk(header, this, fileSize, reader, findings);
  }

  /** The counts so far. */
  ReferenceCounts counts() {
    return counts;
  }

  /** Clusters of the file, with one behind its end if that is referred to. */
  long clusters() {
    long inFile = counts.clusters() - 1;
    return counts.get(inFile) == 0 ? inFile : inFile + 1;
  }

  /**
   * Whether COPIED is right everywhere if the stored counts are ours: nothing is used twice, and
   * every active entry has the flag.
   */
  boolean allFlagged() {
    return !unflagged && !l2Walk.unflagged() && !counts.shared();
  }

  /** All L2 tables within the file. */
  TableSet l2Tables() {
    return l2Tables;
  }

  /** Structures that nothing else may refer to. */
  List<Role> roles() {
    return roles;
  }

  /** Whether there are references that could not be found, so that counts cannot be judged. */
  boolean incomplete() {
    return incomplete;
  }

  /**
   * The cluster behind the last one, not far behind the file's end, that something refers to; 0 if
   * there is none.
   */
  long beyondEnd() {
    return beyondEnd;
  }

  /** Whether what a repair sets right by itself is not held against the image. */
  boolean forRepair() {
    return forRepair;
  }

  /** Host offset and bytes of each L1 table that snapshots have; they may overlap. */
  List<long[]> snapshotL1Tables() {
    return snapshotL1Tables;
  }

  /** Statistics of the active L2 tables. */
  L2Walk statistics() {
    return l2Walk;
  }

  /**
   * Counts everything.
   *
   * @param tick called for each L2 table
   * @throws IOException if the storage fails, or the references are too many to be counted
   */
  void run(Runnable tick) throws IOException {
    owned("the header", 0, g.clusterSize());
    long l1Bytes = header.l1Size() * Geometry.ENTRY_BYTES;
    if (owned("the active L1 table", header.l1TableOffset(), l1Bytes)) {
      reader.words(
          header.l1TableOffset(), header.l1Size(), (index, word) -> l1Entry(word, 1, true));
    }
    snapshots();
    bitmaps();
    LuksPointer luks = cluster.luks().orElse(null);
    if (luks != null) {
      owned("the LUKS header", luks.offset(), luks.length());
    }
    if (l2Tables.size() > TableSet.MAX_TABLES) {
      findings.error("ERROR more than %d L2 tables; not all were checked", TableSet.MAX_TABLES);
    }
    l2Tables.forEach((hostOffset, times, active) -> counts.add(g.clusterIndex(hostOffset), times));
    l2Tables.forEach(
        (hostOffset, times, active) -> {
          l2Walk.table(hostOffset, times, active);
          tick.run();
        });
  }

  /** Counts a structure that nobody else may use; false if it is not in the file. */
  boolean owned(String name, long hostOffset, long bytes) throws IOException {
    if (!count(hostOffset, bytes, 1)) {
      return false;
    }
    if (bytes > 0) {
      long first = g.clusterIndex(hostOffset);
      roles.add(new Role(name, first, g.clusterIndex(hostOffset + bytes - 1) - first + 1));
    }
    return true;
  }

  /**
   * Counts {@code times} references to each cluster of a range.
   *
   * @return false, after a finding, if the range goes a whole cluster or more past the file's end
   */
  boolean count(long hostOffset, long bytes, int times) throws IOException {
    if (bytes <= 0) {
      return true;
    }
    if (!inFile(hostOffset, bytes)) {
      return false;
    }
    counts.addAll(g.clusterIndex(hostOffset), g.clusterIndex(hostOffset + bytes - 1), times);
    return true;
  }

  /** Whether a range goes less than a whole cluster past the file's end. */
  boolean holds(long hostOffset, long bytes) {
    // Places come from the disk: their sum may pass 2^63.
    return hostOffset <= Geometry.MAX_HOST_OFFSET - bytes
        && hostOffset + bytes - fileSize < g.clusterSize();
  }

  private boolean inFile(long hostOffset, long bytes) {
    if (!holds(hostOffset, bytes)) {
      long end = g.clusterIndex(hostOffset + bytes - 1) + 1;
      if (end <= g.clusters(fileSize) * NEAR_FACTOR + NEAR) {
        beyondEnd = Math.max(beyondEnd, end);
      }
      findings.corruption(
          "ERROR: counting reference for region exceeding the end of the file by one cluster or"
              + " more: offset 0x%x size 0x%x",
          hostOffset, bytes);
      return false;
    }
    return true;
  }

  private void l1Entry(long word, int times, boolean active) {
    if ((word & Geometry.L1_RESERVED) != 0) {
      findings.corruption("ERROR found L1 entry with reserved bits set: %x", word);
    }
    long hostOffset = word & Geometry.OFFSET_MASK;
    if (hostOffset == 0) {
      if (word == Geometry.COPIED) {
        // QEMU takes the header for an L2 table then.
        findings.corruption("ERROR L1 entry %x has flags, but no L2 table", word);
      }
      return;
    }
    unflagged |= active && (word & Geometry.COPIED) == 0;
    if (g.inCluster(hostOffset) != 0) {
      findings.corruption(
          "ERROR l2_offset=%x: Table is not cluster aligned; L1 entry corrupted", hostOffset);
    } else if (inFile(hostOffset, g.clusterSize())) {
      l2Tables.add(hostOffset, times, active);
    }
  }

  private void snapshots() throws IOException {
    if (header.snapshotCount() == 0) {
      return;
    }
    SharedRanges entries = new SharedRanges();
    SharedRanges clusters = new SharedRanges();
    long[] next = {header.snapshotsOffset(), 0};
    SnapshotTable.Visitor visitor =
        (entry, at) -> {
          next[0] = at + entry.length();
          snapshot(entry, next[1]++, entries, clusters);
        };
    try {
      if (forRepair) {
        next[0] =
            header.snapshotsOffset()
                + SnapshotTable.readLeniently(storage, header, visitor, dropped -> {});
      } else {
        SnapshotTable.read(storage, header, visitor);
      }
    } catch (ImageFormatException e) {
      findings.error("ERROR failed to read the snapshot table: entry %d: %s", next[1], e.problem());
    }
    owned("the snapshot table", header.snapshotsOffset(), next[0] - header.snapshotsOffset());
    clusters.forEach(
        (start, length, times) -> {
          count(start, length, times);
          long first = g.clusterIndex(start);
          roles.add(new Role("a snapshot's L1 table", first, g.clusterIndex(length)));
        });
    entries.forEach(
        (start, length, times) -> {
          snapshotL1Tables.add(new long[] {start, length});
          reader.words(start, length / 8, (index, word) -> l1Entry(word, times, false));
        });
  }

  private void snapshot(
      SnapshotEntry entry, long number, SharedRanges entries, SharedRanges clusters) {
    if (!forRepair && entry.incomplete(header.version())) {
      findings.corruption("ERROR snapshot table entry %d is incomplete", number);
    }
    if (g.inCluster(entry.l1TableOffset()) != 0 || entry.l1TableOffset() < 0) {
      findings.corruption(
          "ERROR snapshot %s (%s) l1_offset=0x%x: L1 table is not cluster aligned;"
              + " snapshot table entry corrupted",
          entry.id(), entry.name(), entry.l1TableOffset());
      return;
    }
    if (entry.l1Size() > Geometry.MAX_L1_ENTRIES) {
      findings.corruption(
          "ERROR snapshot %s (%s) l1_size=0x%x: L1 table is too large;"
              + " snapshot table entry corrupted",
          entry.id(), entry.name(), entry.l1Size());
      return;
    }
    long bytes = entry.l1Size() * Geometry.ENTRY_BYTES;
    if (bytes > 0 && inFile(entry.l1TableOffset(), bytes)) {
      entries.add(entry.l1TableOffset(), bytes);
      clusters.add(entry.l1TableOffset(), g.clusterOffset(g.clusters(bytes)));
    }
  }

  private void bitmaps() throws IOException {
    BitmapsExtension extension = cluster.bitmaps().orElse(null);
    if (extension == null) {
      return;
    }
    owned("the bitmap directory", extension.directoryOffset(), extension.directorySize());
    List<BitmapDirectoryEntry> directory;
    try {
      directory = Qcow2Info.readBitmapDirectory(storage, cluster, extension);
    } catch (ImageException e) {
      incomplete = true;
      findings.corruption("ERROR failed to read the bitmap directory: %s", e.problem());
      return;
    }
    SharedRanges entries = new SharedRanges();
    SharedRanges clusters = new SharedRanges();
    for (BitmapDirectoryEntry entry : directory) {
      long bytes = entry.tableSize() * Geometry.ENTRY_BYTES;
      if (bytes > 0 && inFile(entry.tableOffset(), bytes)) {
        entries.add(entry.tableOffset(), bytes);
        clusters.add(entry.tableOffset(), g.clusterOffset(g.clusters(bytes)));
      }
    }
    clusters.forEach(
        (start, length, times) -> {
          count(start, length, times);
          roles.add(new Role("a bitmap table", g.clusterIndex(start), g.clusterIndex(length)));
        });
    entries.forEach(
        (start, length, times) -> {
          bitmapTables.add(new BitmapTable(start, length / Geometry.ENTRY_BYTES, times));
          reader.words(
              start,
              length / Geometry.ENTRY_BYTES,
              (index, word) -> {
                if (BitmapTableEntry.corrupt(word, g)) {
                  findings.corruption("ERROR bitmap table entry %x is corrupted", word);
                } else if (BitmapTableEntry.hostOffset(word) != 0) {
                  count(BitmapTableEntry.hostOffset(word), g.clusterSize(), times);
                }
              });
        });
  }

  /** Numbers of clusters that have more references than their structure has by itself. */
  Set<Long> overlaps() throws IOException {
    Set<Long> found = new HashSet<>();
    for (Role role : roles) {
      for (long i = 0; i < role.clusters() && found.size() < Findings.MAX_OVERLAPS; i++) {
        if (counts.get(role.firstCluster() + i) != 1) {
          found.add(role.firstCluster() + i);
        }
      }
    }
    l2Tables.forEach((hostOffset, times, active) -> overlap(hostOffset, times, found));
    for (BitmapTable table : bitmapTables) {
      reader.words(
          table.hostOffset(),
          table.entries(),
          (index, word) -> {
            if (BitmapTableEntry.hostOffset(word) != 0 && !BitmapTableEntry.corrupt(word, g)) {
              overlap(BitmapTableEntry.hostOffset(word), table.times(), found);
            }
          });
    }
    return found;
  }

  private void overlap(long hostOffset, int times, Set<Long> found) {
    long number = g.clusterIndex(hostOffset);
    boolean counted = number < counts.clusters() && holds(hostOffset, g.clusterSize());
    if (counted && counts.get(number) != times && found.size() < Findings.MAX_OVERLAPS) {
      found.add(number);
    }
  }
}
