package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import java.io.IOException;

/**
 * Keeps the COPIED flags of the active tables in step with reference counts that snapshots have
 * changed. Only while no request is under way.
 *
 * <p>Spec: qcow2 digest, 5.
 */
final class CopiedFlags {
  /** Changed words that are kept in memory before they are written. */
  private static final int MANY = 1 << 16;

  private final Metadata metadata;
  private final Geometry geometry;

  CopiedFlags(Metadata metadata) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
  }

  /** A new descriptor for an entry that has a host cluster, or the old one. */
  private interface Change {
    long of(long descriptor) throws IOException;
  }

  /** Takes the flag from every entry of the active tables: all of it is shared now. */
  void clear() throws IOException {
    changeActive(word -> word & ~Geometry.COPIED);
    for (int table = 0; table < metadata.l1.length(); table++) {
      setL1(table, metadata.l1.target(table));
    }
  }

  /** Gives the flag to every active entry whose target has only this one user now. */
  void set() throws IOException {
    changeActive(word -> single(word & Geometry.OFFSET_MASK) ? word | Geometry.COPIED : word);
    for (int table = 0; table < metadata.l1.length(); table++) {
      long target = metadata.l1.target(table);
      if (target != 0 && metadata.l1.get(table) >= 0 && single(target)) {
        setL1(table, target | Geometry.COPIED);
      }
    }
  }

  private boolean single(long hostOffset) throws IOException {
    return metadata.counts.count(geometry.clusterIndex(hostOffset)) == 1;
  }

  private void setL1(int table, long entry) {
    metadata.lock.lock();
    try {
      if (metadata.l1.get(table) != entry) {
        metadata.l1.set(table, entry);
      }
    } finally {
      metadata.lock.unlock();
    }
  }

  private void changeActive(Change change) throws IOException {
    for (int table = 0; table < metadata.l1.length(); table++) {
      for (int i = 0; metadata.l1.target(table) != 0 && i < geometry.slicesPerCluster(); i++) {
        changeSlice(table, i, change);
      }
    }
  }

  private void changeSlice(int table, int index, Change change) throws IOException {
    Slice slice = metadata.l2.load(table, index, metadata.durability);
    for (int i = 0; slice != null && i < geometry.sliceEntries(); i++) {
      L2Entry old = slice.entry(i);
      L2Entry wanted = changed(old, change);
      if (!wanted.equals(old) && !put(slice, i, wanted)) {
        // It was thrown out of the cache: once more from the beginning.
        slice = metadata.l2.load(table, index, metadata.durability);
        i = -1;
      }
    }
  }

  private boolean put(Slice slice, int index, L2Entry wanted) {
    metadata.lock.lock();
    try {
      if (slice.resident) {
        metadata.l2.set(slice, index, wanted);
      }
      return slice.resident;
    } finally {
      metadata.lock.unlock();
    }
  }

  /** Only entries with a host cluster of their own have the flag. */
  private L2Entry changed(L2Entry entry, Change change) throws IOException {
    if (!entry.hasCluster(geometry)) {
      return entry;
    }
    long descriptor = change.of(entry.descriptor());
    return descriptor == entry.descriptor() ? entry : new L2Entry(descriptor, entry.bitmap());
  }

  /**
   * Takes the flag from every entry of a snapshot's tables, which are about to become active. There
   * it has no meaning, and is not set as a rule; but where it is, it would be believed.
   */
  void clearInTables(long[] l1) throws IOException {
    try (TableReader reader = new TableReader(metadata.storage, metadata.storage.size())) {
      for (long table : l1) {
        if (table != 0) {
          L2Entries.forEach(
              reader,
              table,
              geometry,
              (at, entry) -> {
                if (entry.descriptor() < 0 && entry.hasCluster(geometry)) {
                  edit(at, entry.descriptor() & ~Geometry.COPIED);
                }
              });
        }
      }
    }
  }

  private void edit(long hostOffset, long word) throws IOException {
    boolean many;
    metadata.lock.lock();
    try {
      many = metadata.durability.edit(hostOffset, new long[] {word}) > MANY;
    } finally {
      metadata.lock.unlock();
    }
    if (many) {
      metadata.durability.flush();
    }
  }
}
