package dev.imago.qcow2;

import dev.imago.image.Progress;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.Storage;
import java.io.IOException;

/**
 * Replaces what version 2 cannot say, that a cluster is zero: by nothing where nothing stands
 * behind the image, else by a cluster full of zeroes. In all tables, those of snapshots too, where
 * they are: who shares a table sees the same zeroes as before. Only while no request is under way
 * and nothing is cached.
 *
 * <p>A new cluster has the whole count and is zeroed when the flush that changes its entry begins,
 * so a crash finds each entry as it was or as it is to be.
 */
final class ZeroExpansion {
  private static final int BATCH_EDITS = 1 << 14;
  private static final int MANY_TIMES = (1 << 16) - 1;

  private final Metadata metadata;
  private final Geometry geometry;
  private final boolean backed;
  private final AllTables tables;

  /** How many entries lead to each cluster; a table counts once, however many lead to it. */
  private final ReferenceCounts entries;

  private ZeroExpansion(Metadata metadata, boolean backed) throws IOException {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.backed = backed;
    this.tables = AllTables.of(metadata);
    long clusters = geometry.clusters(metadata.storage.size()) + 1;
    this.entries = new ReferenceCounts(clusters, (128L << 20) + clusters);
  }

  /**
   * Does it. Tables are changed past the cache, which must be empty.
   *
   * @param backed whether the image names a backing file
   */
  static void run(Metadata metadata, boolean backed, Progress progress) throws IOException {
    new ZeroExpansion(metadata, backed).run(progress);
  }

  private void run(Progress progress) throws IOException {
    tables.entries(
        (table, users, active, at, entry) -> {
          if (entry.hasCluster(geometry)) {
            entries.add(geometry.clusterIndex(entry.hostOffset()), 1);
          }
        },
        Progress.NONE);
    tables.entries(this::entry, progress);
    metadata.durability.flushAll();
  }

  private void entry(long table, int users, boolean active, long at, L2Entry entry)
      throws IOException {
    L2Entry.Kind kind = entry.kind(0, geometry);
    if (kind == L2Entry.Kind.ZERO) {
      edit(at, backed ? newCluster(table, users, active) : 0);
    } else if (kind == L2Entry.Kind.ZERO_ALLOCATED) {
      metadata.requireNoOverlap(entry.hostOffset(), geometry.clusterSize());
      long cluster = geometry.clusterIndex(entry.hostOffset());
      // Tables of snapshots and compressed clusters do not count as entries, but are counted.
      if (entries.get(cluster) == 1 && metadata.counts.count(cluster) == references(table, users)) {
        zero(entry.hostOffset());
        edit(at, entry.descriptor() & ~Geometry.READS_AS_ZERO);
      } else {
        // Somebody else has data there.
        edit(at, backed ? newCluster(table, users, active) : 0);
        metadata.unreferenced(cluster, references(table, users));
      }
    }
  }

  private long newCluster(long table, int users, boolean active) throws IOException {
    Allocator.Taken taken = metadata.allocator.take(1);
    long place = geometry.clusterOffset(taken.firstCluster());
    long references = references(table, users);
    try {
      requireCountable(references);
      if (!metadata.geometry.externalData()) {
        metadata.requireNoOverlap(place, geometry.clusterSize());
      }
      zero(place);
    } catch (IOException | RuntimeException e) {
      metadata.giveBack(taken, e);
      throw e;
    }
    if (references > 1) {
      metadata.counts.add(taken.firstCluster(), references - 1);
    }
    return active && references == 1 ? place | Geometry.COPIED : place;
  }

  /** How many entries of L1 tables lead to a table. */
  private long references(long table, int users) throws IOException {
    return users < MANY_TIMES ? users : metadata.counts.count(geometry.clusterIndex(table));
  }

  private void requireCountable(long references) throws UnsupportedFeatureException {
    if (Long.compareUnsigned(references, geometry.maxRefcount()) > 0) {
      throw new UnsupportedFeatureException(
          metadata.name,
          Header.AT_REFCOUNT_ORDER,
          "refcount_order",
          "%d references; %d bits are not enough for them"
              .formatted(references, geometry.refcountBits()),
          "delete a snapshot");
    }
  }

  private void zero(long hostOffset) throws IOException {
    metadata.data.writeZeroes(hostOffset, geometry.clusterSize(), Storage.ZeroMode.ALLOCATED);
    metadata.durability.dataWritten();
  }

  private void edit(long at, long descriptor) throws IOException {
    int edits;
    metadata.lock.lock();
    try {
      edits = metadata.durability.edit(at, new long[] {descriptor});
    } finally {
      metadata.lock.unlock();
    }
    if (edits >= BATCH_EDITS) {
      metadata.durability.flush();
    }
  }
}
