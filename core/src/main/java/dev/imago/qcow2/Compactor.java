package dev.imago.qcow2;

import dev.imago.image.CompactResult;
import dev.imago.image.Progress;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Moves clusters from the end of the file into free space further ahead, and cuts the file off. No
 * request is under way meanwhile, and everything is on the disk before.
 *
 * <p>A cluster is copied to a new place that has its whole reference count; a flush makes both
 * safe, and then changes the entries that lead to it; when that is safe too, the old place leaves
 * quarantine. So a crash finds each entry leading to the old place or to the new one, which hold
 * the same bytes, and both counted: clusters may be leaked, nothing else. Data comes first, then L2
 * tables, L1 tables, the snapshot table, refcount blocks, and the refcount table.
 */
final class Compactor {
  private static final long MEMORY = 128L << 20;

  /** So much is copied before a flush links it and gives the old places back, in bytes. */
  private static final long BATCH_BYTES = 64 << 20;

  private static final int BATCH_EDITS = 1 << 14;

  /** A pass frees places ahead: of tables that became shorter, or were given up. */
  private static final int MAX_PASSES = 4;

  /** Clusters with several entries are remembered until the last of them was met. */
  private static final int MAX_SHARED = 1 << 18;

  private final Metadata metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final HostCounts counts;
  private final Allocator allocator;
  private final Progress progress;
  private final long clusters;

  /** Entries that lead to each cluster; a table counts once, however many lead to it. */
  private final ReferenceCounts entries;

  private final ReferenceCounts compressed;
  private final TableSet tables = new TableSet();
  private final Map<Long, Long> shared = new HashMap<>();

  /** The first cluster behind those that would be enough for all that is used. */
  private long boundary;

  private boolean full;
  private long moved;
  private long batchBytes;
  private long done;
  private long leftCompressed;
  private long leftEncrypted;

  Compactor(Metadata metadata, Progress progress) throws IOException {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.storage = metadata.storage;
    this.counts = metadata.counts;
    this.allocator = metadata.allocator;
    this.progress = progress;
    this.clusters = geometry.clusters(storage.size());
    this.entries = new ReferenceCounts(clusters + 1, MEMORY + clusters);
    this.compressed = new ReferenceCounts(clusters + 1, MEMORY + clusters);
  }

  /** Compacts an image, in as many passes as move anything; all but the first are short. */
  static CompactResult run(Metadata metadata, Progress progress) throws IOException {
    CompactResult first = new Compactor(metadata, progress).run();
    CompactResult last = first;
    long moved = first.movedBytes();
    for (int i = 1; i < MAX_PASSES && last.movedBytes() > 0; i++) {
      last = new Compactor(metadata, Progress.NONE).run();
      moved += last.movedBytes();
    }
    return new CompactResult(first.sizeBefore(), last.sizeAfter(), moved, last.leftInPlace());
  }

  private CompactResult run() throws IOException {
    final long before = storage.size();
    boundary = counts.used(clusters);
    // Tables are changed on the disk, past the cache.
    metadata.forgetTables();
    try {
      if (boundary < clusters) {
        findTables();
        countEntries();
        moveData();
        moveTables();
        moveL1();
        moved += new SnapshotOperations(metadata).moveAhead(geometry.clusterOffset(boundary));
        metadata.durability.flushAll();
        moveRefcounts();
      }
    } finally {
      metadata.forgetTables();
    }
    metadata.durability.flushAll();
    FreeTail.cut(metadata);
    progress.at(Math.max(1, done), Math.max(1, done));
    return new CompactResult(before, storage.size(), geometry.clusterOffset(moved), left());
  }

  private List<String> left() throws IOException {
    List<String> left = new ArrayList<>();
    if (leftCompressed > 0) {
      left.add("%d clusters of compressed data".formatted(leftCompressed));
    }
    if (leftEncrypted > 0) {
      left.add("%d encrypted clusters, whose place is part of their key".formatted(leftEncrypted));
    }
    long end = counts.usedEnd(clusters);
    long holes = end - counts.used(end);
    if (left.isEmpty() && holes > 0) {
      left.add(
          "%d clusters stay free, before bitmaps, leaked clusters or long tables".formatted(holes));
    }
    return left;
  }

  private List<long[]> allL1() throws IOException {
    List<long[]> all = new ArrayList<>();
    all.add(metadata.l1.entries());
    for (SnapshotEntry snapshot : metadata.snapshots.entries()) {
      all.add(metadata.snapshots.l1(snapshot));
    }
    return all;
  }

  private void findTables() throws IOException {
    // Judges all of it, so that nothing is moved in an image whose tables are bad.
    for (long[] l1 : allL1()) {
      CountChanges changes = new CountChanges(metadata);
      changes.lose(l1);
      changes.requirePossible();
      for (long entry : l1) {
        if ((entry & Geometry.OFFSET_MASK) != 0) {
          tables.add(entry & Geometry.OFFSET_MASK, 1, true);
        }
      }
    }
  }

  private void countEntries() throws IOException {
    try (TableReader reader = new TableReader(storage, storage.size())) {
      tables.forEach(
          (table, times, active) ->
              L2Entries.forEach(reader, table, geometry, (at, entry) -> countEntry(entry)));
    }
  }

  private void countEntry(L2Entry entry) throws IOException {
    if (entry.compressed()) {
      long start = geometry.compressedOffset(entry.descriptor());
      long last = start + geometry.compressedLength(entry.descriptor()) - 1;
      compressed.addAll(geometry.clusterIndex(start), geometry.clusterIndex(last), 1);
    } else if (ownCluster(entry)) {
      entries.add(geometry.clusterIndex(entry.hostOffset()), 1);
    }
  }

  private boolean ownCluster(L2Entry entry) {
    return !geometry.externalData() && entry.hasCluster(geometry);
  }

  // Data

  private void moveData() throws IOException {
    boolean encrypted = metadata.header().cryptMethod() == Header.CRYPT_LUKS;
    try (TableReader reader = new TableReader(storage, storage.size());
        Buffers.Lease lease = Buffers.take(geometry.clusterSize())) {
      tables.forEach(
          (table, times, active) -> {
            L2Entries.forEach(
                reader,
                table,
                geometry,
                (at, entry) -> {
                  if (!ownCluster(entry)) {
                    return;
                  }
                  long cluster = geometry.clusterIndex(entry.hostOffset());
                  if (cluster >= boundary && encrypted) {
                    leftEncrypted++;
                  } else if (cluster >= boundary && compressed.get(cluster) == 0) {
                    moveCluster(at, entry, cluster, lease.buffer());
                  }
                });
            progress.at(++done, done + tables.size());
          });
    }
    metadata.durability.flush();
    for (long cluster : shared.keySet()) {
      free(cluster);
    }
    shared.clear();
    for (long i = compressed.nextChunk(boundary & -ReferenceCounts.CHUNK); i >= 0; ) {
      for (long cluster = i; cluster < i + ReferenceCounts.CHUNK; cluster++) {
        leftCompressed += cluster >= boundary && compressed.get(cluster) > 0 ? 1 : 0;
      }
      i = compressed.nextChunk(i + ReferenceCounts.CHUNK);
    }
    metadata.durability.flushAll();
  }

  private void moveCluster(long at, L2Entry entry, long cluster, ByteBuffer buffer)
      throws IOException {
    boolean alone = entries.get(cluster) == 1;
    Long known = alone ? null : shared.get(cluster);
    long place;
    if (known != null) {
      place = known;
    } else {
      place = full || (!alone && shared.size() == MAX_SHARED) ? -1 : takeFor(cluster);
      if (place < 0) {
        return;
      }
      copy(cluster, place, buffer);
      metadata.durability.dataWritten();
    }
    long flags = entry.descriptor() & ~Geometry.OFFSET_MASK;
    int edits;
    metadata.lock.lock();
    try {
      edits = metadata.durability.edit(at, new long[] {geometry.clusterOffset(place) | flags});
    } finally {
      metadata.lock.unlock();
    }
    if (alone) {
      free(cluster);
    } else {
      shared.put(cluster, place);
    }
    if (edits >= BATCH_EDITS || batchBytes >= BATCH_BYTES) {
      batchBytes = 0;
      metadata.durability.flush();
    }
  }

  /** Takes a cluster further ahead, and gives it the count of this one; -1 if there is none. */
  private long takeFor(long cluster) throws IOException {
    Allocator.Taken taken = allocator.take(1);
    if (taken.firstCluster() >= boundary) {
      allocator.giveBack(taken.firstCluster(), 1);
      full = true;
      return -1;
    }
    long others = counts.count(cluster) - 1;
    if (others != 0) {
      counts.add(taken.firstCluster(), others);
    }
    moved++;
    batchBytes += geometry.clusterSize();
    return taken.firstCluster();
  }

  private void copy(long from, long to, ByteBuffer buffer) throws IOException {
    long source = geometry.clusterOffset(from);
    long target = geometry.clusterOffset(to);
    int length = geometry.clusterSize();
    Storage.Run run = storage.run(source, length);
    if (!run.data() && run.length() >= length) {
      storage.writeZeroes(target, length, Storage.ZeroMode.SPARSE);
      return;
    }
    storage.read(buffer.clear().limit(length), source);
    storage.write(buffer.flip(), target);
  }

  /** Nothing leads to a cluster any more, as soon as the next flush is done. */
  private void free(long cluster) throws IOException {
    metadata.unreferenced(cluster, counts.count(cluster));
  }

  // L2 tables

  private void moveTables() throws IOException {
    Map<Long, Long> places = new HashMap<>();
    try (Buffers.Lease lease = Buffers.take(geometry.clusterSize())) {
      tables.forEach(
          (table, times, active) -> {
            long cluster = geometry.clusterIndex(table);
            long place = cluster < boundary || full ? -1 : takeFor(cluster);
            if (place >= 0) {
              copy(cluster, place, lease.buffer());
              metadata.durability.tableWritten();
              places.put(table, geometry.clusterOffset(place));
            }
          });
    }
    if (places.isEmpty()) {
      return;
    }
    // One flush makes the copies safe, then switches; all snapshots first, as they are on the disk.
    for (SnapshotEntry snapshot : metadata.snapshots.entries()) {
      switchSnapshot(snapshot, places);
    }
    metadata.lock.lock();
    try {
      for (int i = 0; i < metadata.l1.length(); i++) {
        long entry = metadata.l1.get(i);
        Long place = places.get(entry & Geometry.OFFSET_MASK);
        if (place != null) {
          metadata.l1.set(i, place | entry & Geometry.COPIED);
          metadata.map.remove(entry & Geometry.OFFSET_MASK, 1);
          metadata.map.add(place, 1);
        }
      }
    } finally {
      metadata.lock.unlock();
    }
    for (long table : places.keySet()) {
      free(geometry.clusterIndex(table));
    }
    metadata.durability.flushAll();
  }

  private void switchSnapshot(SnapshotEntry snapshot, Map<Long, Long> places) throws IOException {
    long[] l1 = metadata.snapshots.l1(snapshot);
    metadata.lock.lock();
    try {
      for (int i = 0; i < l1.length; i++) {
        Long place = places.get(l1[i]);
        if (place != null) {
          long at = snapshot.l1TableOffset() + (long) i * Geometry.ENTRY_BYTES;
          metadata.durability.edit(at, new long[] {place});
        }
      }
    } finally {
      metadata.lock.unlock();
    }
  }

  // L1 and refcounts

  private void moveL1() throws IOException {
    PointerTable l1 = metadata.l1;
    long length = geometry.clusters((long) l1.length() * Geometry.ENTRY_BYTES);
    long old = geometry.clusterIndex(l1.hostOffset());
    if (length == 0 || old + length <= boundary) {
      return;
    }
    Allocator.Taken taken = takeAhead(length, old);
    if (taken == null) {
      return;
    }
    storage.writeZeroes(
        geometry.clusterOffset(taken.firstCluster()),
        geometry.clusterOffset(length),
        Storage.ZeroMode.ALLOCATED);
    metadata.durability.tableWritten();
    metadata.lock.lock();
    try {
      long place = geometry.clusterOffset(taken.firstCluster());
      metadata.map.remove(l1.hostOffset(), length);
      metadata.map.add(place, length);
      l1.moveTo(place, l1.entries().clone());
      metadata.freed(old, length);
    } finally {
      metadata.lock.unlock();
    }
    metadata.durability.flushAll();
  }

  /** Takes clusters that follow one another before a cluster; null if there are none. */
  private Allocator.@org.jspecify.annotations.Nullable Taken takeAhead(long count, long before)
      throws IOException {
    Allocator.Taken taken = allocator.takeTogether(count);
    if (taken.firstCluster() > before) {
      allocator.giveBack(taken.firstCluster(), taken.count());
      return null;
    }
    moved += count;
    return taken;
  }

  private void moveRefcounts() throws IOException {
    PointerTable reftable = metadata.reftable;
    Set<Long> counting = new HashSet<>();
    Set<Long> movedBlocks = new HashSet<>();
    for (int i = 0; i < reftable.length(); i++) {
      long old = geometry.clusterIndex(reftable.target(i));
      if (old < boundary || old == 0) {
        continue;
      }
      Allocator.Taken taken = takeAhead(1, old);
      if (taken == null) {
        break;
      }
      // The disk may get the table's sectors in any order: no block may move in one flush with
      // the count of another's new place.
      long counter = geometry.reftableIndex(taken.firstCluster());
      if (movedBlocks.contains(counter) || counting.contains((long) i)) {
        metadata.durability.flushAll();
        movedBlocks.clear();
        counting.clear();
      }
      metadata.blocks.move(i, taken.firstCluster());
      metadata.durability.tableWritten();
      movedBlocks.add((long) i);
      counting.add(counter);
    }
    metadata.durability.flushAll();
    long length = geometry.clusters((long) reftable.length() * Geometry.ENTRY_BYTES);
    long old = geometry.clusterIndex(reftable.hostOffset());
    if (old + length > boundary) {
      Allocator.Taken taken = takeAhead(length, old);
      if (taken != null) {
        metadata.blocks.moveTable(taken.firstCluster());
        metadata.durability.flushAll();
      }
    }
    dropEmptyBlocks();
  }

  /** Gives up the refcount blocks of clusters behind the last one in use. */
  private void dropEmptyBlocks() throws IOException {
    long end = counts.usedEnd(clusters);
    for (int i = metadata.reftable.length() - 1; i > geometry.reftableIndex(end - 1); i--) {
      if (metadata.reftable.target(i) != 0) {
        metadata.blocks.drop(i);
      }
    }
    metadata.durability.flushAll();
  }
}
