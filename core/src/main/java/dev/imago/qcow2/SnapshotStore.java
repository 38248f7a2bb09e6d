package dev.imago.qcow2;

import dev.imago.image.ImageFormatException;
import dev.imago.image.NoSuchSnapshotException;
import dev.imago.image.Snapshot;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/**
 * The snapshot table: which snapshots there are, how they are found by id or name, and what the
 * table looks like on the disk. Its entries are read when they are needed first. Changed under the
 * image's exclusive lock only.
 *
 * <p>Spec: qcow2 digest, section 7.
 */
final class SnapshotStore {
  /** Most snapshots that an image can have. */
  static final int MAX_SNAPSHOTS = 65536;

  private final Storage storage;
  private Header header;
  private volatile int count;
  private long hostOffset;
  private List<SnapshotEntry> entries = List.of();
  private boolean loaded;

  SnapshotStore(Storage storage, Header header) {
    this.storage = storage;
    this.header = header;
    reload(header);
  }

  /** Begins anew with what the header says now. */
  final synchronized void reload(Header fresh) {
    header = fresh;
    count = (int) fresh.snapshotCount();
    hostOffset = fresh.snapshotsOffset();
    entries = List.of();
    loaded = false;
  }

  /** How many snapshots there are. */
  int count() {
    return count;
  }

  /** Where the table is; 0 if there never was one. */
  synchronized long hostOffset() {
    return hostOffset;
  }

  /** All entries, in the order of the table. */
  synchronized List<SnapshotEntry> entries() throws IOException {
    if (!loaded) {
      List<SnapshotEntry> read = new ArrayList<>();
      SnapshotTable.read(storage, header, (entry, at) -> read.add(entry));
      entries = List.copyOf(read);
      loaded = true;
    }
    return entries;
  }

  /** The header leads to another table now, with these entries. */
  synchronized void moved(long newHostOffset, List<SnapshotEntry> newEntries) {
    hostOffset = newHostOffset;
    entries = List.copyOf(newEntries);
    count = entries.size();
    loaded = true;
  }

  /**
   * The first entry with this id, or else the first with this name.
   *
   * @throws NoSuchSnapshotException if there is none
   */
  SnapshotEntry find(String idOrName) throws IOException {
    for (SnapshotEntry entry : entries()) {
      if (entry.id().equals(idOrName)) {
        return entry;
      }
    }
    for (SnapshotEntry entry : entries()) {
      if (entry.name().equals(idOrName)) {
        return entry;
      }
    }
    throw new NoSuchSnapshotException(storage.name(), idOrName);
  }

  /** The id of the next snapshot: one more than the largest number. */
  String nextId() throws IOException {
    long largest = 0;
    for (SnapshotEntry entry : entries()) {
      largest = Math.max(largest, leadingNumber(entry.id()));
    }
    return Long.toString(largest + 1);
  }

  /** The number that a text begins with, as C reads it; 0 if it is none or does not fit. */
  private static long leadingNumber(String text) {
    long number = 0;
    for (int i = 0; i < text.length() && number < Long.MAX_VALUE / 20; i++) {
      char digit = text.charAt(i);
      if (digit < '0' || digit > '9') {
        break;
      }
      number = number * 10 + (digit - '0');
    }
    return number;
  }

  /**
   * These entries as they are written: with all fields that version 3 demands.
   *
   * @param diskSize the disk's size today, for those that do not say theirs
   * @throws UnsupportedFeatureException if there are too many, or they are too long
   */
  List<SnapshotEntry> complete(List<SnapshotEntry> all, long diskSize)
      throws UnsupportedFeatureException {
    List<SnapshotEntry> complete = new ArrayList<>(all.size());
    for (SnapshotEntry entry : all) {
      complete.add(entry.completed(header.version(), diskSize));
    }
    long length = length(complete);
    if (all.size() > MAX_SNAPSHOTS || length > SnapshotEntry.MAX_TABLE_BYTES) {
      throw new UnsupportedFeatureException(
          storage.name(),
          Header.AT_SNAPSHOTS,
          "snapshot table",
          "%d snapshots of %d bytes; at most %d and %d are possible"
              .formatted(all.size(), length, MAX_SNAPSHOTS, SnapshotEntry.MAX_TABLE_BYTES),
          "delete a snapshot first");
    }
    return complete;
  }

  /** Bytes of a table of these entries, with padding. */
  static long length(List<SnapshotEntry> entries) {
    long length = 0;
    for (SnapshotEntry entry : entries) {
      length += entry.length();
    }
    return length;
  }

  /** A table of these entries. */
  static ByteBuffer bytes(List<SnapshotEntry> entries) {
    ByteBuffer bytes = ByteBuffer.allocate((int) length(entries));
    entries.forEach(entry -> entry.write(bytes));
    return bytes.flip();
  }

  /** What an entry says, for those who do not know the format. */
  static Snapshot describe(SnapshotEntry entry, long diskSize) {
    return new Snapshot(
        entry.id(),
        entry.name(),
        Instant.ofEpochSecond(entry.seconds(), entry.nanoseconds()),
        entry.vmStateSize(),
        entry.vmClock(),
        entry.instructionCount(),
        entry.diskSize(diskSize));
  }

  /**
   * The L1 entries of a snapshot, read from the disk, without flags.
   *
   * @throws ImageFormatException if they cannot be where the entry says
   */
  long[] l1(SnapshotEntry entry) throws IOException {
    return l1(entry, false);
  }

  /**
   * As {@link #l1(SnapshotEntry)}.
   *
   * @param rescue whether entries that cannot be read are lost, which a read of them tells
   */
  long[] l1(SnapshotEntry entry, boolean rescue) throws IOException {
    entry.requireL1(hostOffset(), header.geometry(), storage.name());
    int count = (int) entry.l1Size();
    long[] words =
        rescue
            ? Rescue.l1(storage, entry.l1TableOffset(), count)
            : Words.read(storage, entry.l1TableOffset(), count);
    PointerTable.clearFlags(words);
    return words;
  }
}
