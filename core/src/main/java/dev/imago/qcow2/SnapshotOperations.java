package dev.imago.qcow2;

import dev.imago.image.ImageFormatException;
import dev.imago.image.Snapshot;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Makes, applies and deletes internal snapshots. No request is under way meanwhile, and the caller
 * has flushed everything, lowered counts too.
 *
 * <p>Each first judges everything and writes what nothing leads to yet; a failure up to there
 * changes nothing. Then the disk is switched by one small write to the header: a crash finds the
 * snapshot there or not there, the old disk or the new one. What it may leave is leaked clusters,
 * and COPIED flags that are stale in the harmless direction.
 *
 * <p>Spec: qcow2 digest, 5, 7 and 12 (rule 5).
 */
final class SnapshotOperations {
  private static final int MAX_NAME_BYTES = 0xffff;

  private final Metadata metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final SnapshotStore store;
  private final CopiedFlags flags;

  SnapshotOperations(Metadata metadata) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.storage = metadata.storage;
    this.store = metadata.snapshots;
    this.flags = new CopiedFlags(metadata);
  }

  /** Refuses, before anything is touched, an image that cannot have snapshots. */
  void requireCreate() throws UnsupportedFeatureException {
    if (geometry.externalData()) {
      throw new UnsupportedFeatureException(
          metadata.name,
          Header.AT_INCOMPATIBLE,
          "incompatible_features",
          "an image with a data file cannot have internal snapshots",
          "make an overlay instead");
    }
  }

  /** Refuses, before anything is touched, to apply a snapshot that is not there. */
  void requireApply(String idOrName) throws IOException {
    if (!metadata.bitmaps.bitmaps().isEmpty()) {
      throw new UnsupportedFeatureException(
          metadata.name,
          Header.AT_AUTOCLEAR,
          "bitmaps",
          "Device has active dirty bitmaps",
          "they could not say what applying a snapshot changes: remove them first");
    }
    requireCreate();
    store.find(idOrName);
  }

  /** Refuses, before anything is touched, to delete a snapshot that is not there. */
  void requireDelete(String idOrName) throws IOException {
    store.find(idOrName);
  }

  /**
   * Keeps the disk as it is now.
   *
   * @param name at most 65535 bytes of UTF-8; need not be unique
   */
  Snapshot create(String name, Instant date) throws IOException {
    Bytes rawName = Bytes.of(name);
    if (rawName.size() > MAX_NAME_BYTES) {
      throw new IllegalArgumentException(
          "a snapshot's name has %d bytes; at most %d are possible"
              .formatted(rawName.size(), MAX_NAME_BYTES));
    }
    long[] l1 = metadata.l1.entries().clone();
    PointerTable.clearFlags(l1);
    CountChanges counts = new CountChanges(metadata);
    counts.gain(l1);
    counts.requirePossible();
    SnapshotEntry entry =
        new SnapshotEntry(
            0,
            l1.length,
            date.getEpochSecond() & 0xffff_ffffL,
            date.getNano(),
            0,
            0,
            SnapshotEntry.newExtra(0, metadata.size(), 0),
            Bytes.of(store.nextId()),
            rawName);
    List<SnapshotEntry> all = new ArrayList<>(store.entries());
    all.add(entry);
    List<SnapshotEntry> entries = store.complete(all, metadata.size());
    NewTable copy = write(Words.bytes(l1));
    SnapshotEntry made = entry.withL1(copy.hostOffset, l1.length);
    entries.set(entries.size() - 1, made);
    NewTable table;
    try {
      table = write(SnapshotStore.bytes(entries));
    } catch (IOException | RuntimeException e) {
      giveBack(copy, e);
      throw e;
    }
    finalIfItFails(
        () -> {
          counts.raise();
          flags.clear();
          metadata.lock.lock();
          try {
            metadata.map.add(copy.hostOffset, copy.clusters);
            switchTo(table, entries);
          } finally {
            metadata.lock.unlock();
          }
          metadata.durability.flushAll();
        });
    return SnapshotStore.describe(made, metadata.size());
  }

  /** Forgets a snapshot. The disk and the other snapshots stay as they are. */
  void delete(String idOrName) throws IOException {
    SnapshotEntry entry = store.find(idOrName);
    CountChanges counts = new CountChanges(metadata);
    counts.lose(store.l1(entry));
    counts.requirePossible();
    List<SnapshotEntry> others = new ArrayList<>(store.entries());
    others.remove(entry);
    List<SnapshotEntry> entries = store.complete(others, metadata.size());
    NewTable table = write(SnapshotStore.bytes(entries));
    finalIfItFails(
        () -> {
          metadata.lock.lock();
          try {
            long clusters = geometry.clusters(entry.l1Size() * Geometry.ENTRY_BYTES);
            giveUp(entry.l1TableOffset(), clusters);
            switchTo(table, entries);
          } finally {
            metadata.lock.unlock();
          }
          metadata.durability.flushAll();
          counts.lower();
          flags.set();
          metadata.durability.flushAll();
        });
  }

  /**
   * Makes the disk what it was when a snapshot was made, its size too. Saved machine state stays in
   * the snapshot: it would lie behind the end of the disk, where growing would show it.
   */
  void apply(String idOrName) throws IOException {
    SnapshotEntry entry = store.find(idOrName);
    long size = entry.diskSize(metadata.size());
    requireSize(size);
    long needed = geometry.l1Entries(size);
    long[] kept = store.l1(entry);
    long[] l1 = Arrays.copyOf(kept, (int) Math.max(1, needed));
    Arrays.fill(l1, (int) needed, l1.length, 0);
    long[] old = metadata.l1.entries().clone();
    PointerTable.clearFlags(old);
    CountChanges counts = new CountChanges(metadata);
    counts.gain(l1);
    counts.lose(old);
    counts.requirePossible();
    NewTable table = write(Words.bytes(l1));
    finalIfItFails(
        () -> {
          flags.clearInTables(l1);
          counts.raise();
          metadata.lock.lock();
          try {
            metadata.switchDisk(table.hostOffset, l1, size);
          } finally {
            metadata.lock.unlock();
          }
          metadata.durability.flushAll();
          counts.lower();
          metadata.durability.flushAll();
        });
  }

  /**
   * Moves what lies at or behind a host offset further ahead: L1 tables of snapshots, and the
   * snapshot table.
   *
   * @return clusters moved
   */
  long moveAhead(long from) throws IOException {
    List<SnapshotEntry> entries = new ArrayList<>(store.entries());
    List<NewTable> taken = new ArrayList<>();
    List<SnapshotEntry> moved = new ArrayList<>();
    long tableClusters = geometry.clusters(SnapshotStore.length(entries));
    try {
      for (int i = 0; i < entries.size(); i++) {
        SnapshotEntry entry = entries.get(i);
        long first = geometry.clusterIndex(entry.l1TableOffset());
        if (entry.l1TableOffset() < from
            || entry.l1Size() == 0
            || metadata.counts.count(first) != 1) {
          continue;
        }
        NewTable place = write(Words.bytes(store.l1(entry)));
        taken.add(place);
        if (place.hostOffset < entry.l1TableOffset()) {
          entries.set(i, entry.withL1(place.hostOffset, entry.l1Size()));
          moved.add(entry);
        } else {
          giveBack(taken.removeLast());
        }
      }
      if (moved.isEmpty() && (tableClusters == 0 || store.hostOffset() < from)) {
        return 0;
      }
      List<SnapshotEntry> complete = store.complete(entries, metadata.size());
      NewTable table = write(SnapshotStore.bytes(complete));
      taken.add(table);
      if (moved.isEmpty() && table.hostOffset > store.hostOffset()) {
        giveBack(taken.removeLast());
        return 0;
      }
      metadata.lock.lock();
      try {
        for (SnapshotEntry entry : moved) {
          giveUp(entry.l1TableOffset(), geometry.clusters(entry.l1Size() * Geometry.ENTRY_BYTES));
        }
        switchTo(table, complete);
      } finally {
        metadata.lock.unlock();
      }
    } catch (IOException | RuntimeException e) {
      taken.forEach(place -> giveBack(place, e));
      throw e;
    }
    metadata.durability.flush();
    return taken.stream().mapToLong(NewTable::clusters).sum();
  }

  /**
   * Gives every entry of the snapshot table the fields that version 3 demands, for an image that is
   * about to become one.
   */
  void complete() throws IOException {
    List<SnapshotEntry> entries = new ArrayList<>();
    boolean incomplete = false;
    for (SnapshotEntry entry : store.entries()) {
      incomplete |= entry.incomplete(3);
      entries.add(entry.completed(3, metadata.size()));
    }
    if (!incomplete) {
      return;
    }
    List<SnapshotEntry> complete = store.complete(entries, metadata.size());
    NewTable table = write(SnapshotStore.bytes(complete));
    finalIfItFails(
        () -> {
          metadata.lock.lock();
          try {
            switchTo(table, complete);
          } finally {
            metadata.lock.unlock();
          }
          metadata.durability.flushAll();
        });
  }

  private void giveBack(NewTable table) throws IOException {
    metadata.allocator.giveBack(geometry.clusterIndex(table.hostOffset), table.clusters);
  }

  private void requireSize(long size) throws IOException {
    if (size < 0 || (size & 511) != 0 || geometry.l1Entries(size) > Geometry.MAX_L1_ENTRIES) {
      throw new ImageFormatException(
          metadata.name,
          store.hostOffset(),
          "snapshot disk size",
          "%s; a multiple of 512 that %d L1 entries can map"
              .formatted(Long.toUnsignedString(size), Geometry.MAX_L1_ENTRIES));
    }
    if (geometry.version() < 3 && size != metadata.size()) {
      throw new UnsupportedFeatureException(
          metadata.name,
          Header.AT_SIZE,
          "size",
          "the snapshot's disk has %d bytes, and a v2 image which has snapshots is not resized"
              .formatted(size),
          "convert the image to version 3");
    }
  }

  /** Clusters that were taken and written, and to which nothing leads yet. */
  private record NewTable(long hostOffset, long clusters) {}

  /** Writes a table to clusters of its own; nowhere if it is empty. */
  private NewTable write(ByteBuffer bytes) throws IOException {
    long clusters = geometry.clusters(bytes.remaining());
    if (clusters == 0) {
      return new NewTable(0, 0);
    }
    Allocator.Taken taken = metadata.allocator.takeTogether(clusters);
    long hostOffset = geometry.clusterOffset(taken.firstCluster());
    try {
      // All of it: the rest of the last cluster must not hold what was there before, and a table
      // must not end behind the file.
      storage.writeZeroes(hostOffset, geometry.clusterOffset(clusters), Storage.ZeroMode.ALLOCATED);
      storage.write(bytes, hostOffset);
      metadata.durability.tableWritten();
    } catch (IOException | RuntimeException e) {
      metadata.giveBack(taken, e);
      throw e;
    }
    return new NewTable(hostOffset, clusters);
  }

  private void giveBack(NewTable table, Exception reason) {
    if (table.clusters > 0) {
      long first = geometry.clusterIndex(table.hostOffset);
      metadata.giveBack(new Allocator.Taken(first, table.clusters, false), reason);
    }
  }

  /** Leads the header to a new snapshot table with the next flush. Under the metadata lock. */
  private void switchTo(NewTable table, List<SnapshotEntry> entries) throws IOException {
    giveUp(store.hostOffset(), geometry.clusters(SnapshotStore.length(store.entries())));
    metadata.map.add(table.hostOffset, table.clusters);
    // Hostile images may have two snapshots with one L1 table.
    for (SnapshotEntry each : entries) {
      long clusters = geometry.clusters(each.l1Size() * Geometry.ENTRY_BYTES);
      metadata.map.add(each.l1TableOffset(), clusters);
    }
    metadata.durability.setSnapshots(entries.size(), table.hostOffset);
    store.moved(table.hostOffset, entries);
  }

  /** Frees a table that the next flush unlinks. Under the metadata lock. */
  private void giveUp(long hostOffset, long clusters) {
    if (clusters > 0) {
      metadata.map.remove(hostOffset, clusters);
      metadata.freed(geometry.clusterIndex(hostOffset), clusters);
    }
  }

  private interface Step {
    void run() throws IOException;
  }

  /** From here on memory and disk would not agree after a failure: nothing more is written then. */
  private void finalIfItFails(Step step) throws IOException {
    try {
      step.run();
    } catch (IOException | RuntimeException e) {
      metadata.durability.fail(e);
      throw e;
    }
  }
}
