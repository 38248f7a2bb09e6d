package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.Storage;
import java.io.IOException;

/**
 * What it does to the reference counts when an L1 table with all that it leads to gains a user, or
 * loses one: each L2 table and each host cluster that its entries name is counted once more, or
 * less.
 *
 * <p>First everything is walked through and judged, which changes nothing; then the counts are
 * raised, and, when the disk no longer leads to what is lost, lowered. While a tree is exchanged
 * for another, what both share keeps its count. Only while no request is under way.
 *
 * <p>Spec: qcow2 digest, 5 and 7.
 */
final class CountChanges {
  private static final long MEMORY = 128L << 20;

  private final Metadata metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final long fileSize;
  private final ReferenceCounts gained;
  private final ReferenceCounts lost;

  CountChanges(Metadata metadata) throws IOException {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.storage = metadata.storage;
    this.fileSize = storage.size();
    long clusters = geometry.clusters(fileSize) + 1;
    this.gained = new ReferenceCounts(clusters, MEMORY + clusters);
    this.lost = new ReferenceCounts(clusters, MEMORY + clusters);
  }

  /** Somebody more refers to what these L1 entries lead to. */
  void gain(long[] l1) throws IOException {
    walk(l1, gained);
  }

  /** Somebody less refers to what these L1 entries lead to. */
  void lose(long[] l1) throws IOException {
    walk(l1, lost);
  }

  private void walk(long[] l1, ReferenceCounts counts) throws IOException {
    TableSet tables = new TableSet();
    for (int i = 0; i < l1.length; i++) {
      long table = l1[i] & Geometry.OFFSET_MASK;
      if (table == 0) {
        continue;
      }
      if (geometry.inCluster(table) != 0) {
        throw corrupt(
            table, "L1 entry", "L2 table offset 0x%x unaligned (L1 index: %d)".formatted(table, i));
      }
      tables.add(table, 1, true);
    }
    try (TableReader reader = new TableReader(storage, fileSize)) {
      tables.forEach(
          (table, times, active) -> {
            count(counts, table, geometry.clusterSize(), times);
            L2Entries.forEach(
                reader, table, geometry, (at, entry) -> entry(counts, at, entry, times));
          });
    }
  }

  private void entry(ReferenceCounts counts, long at, L2Entry entry, int times) throws IOException {
    if (entry.kind(0, geometry) == L2Entry.Kind.INVALID) {
      throw corrupt(at, "L2 entry", entry.problem(geometry));
    }
    if (entry.compressed()) {
      long start = geometry.compressedOffset(entry.descriptor());
      count(counts, start, geometry.compressedLength(entry.descriptor()), times);
    } else if (entry.hasCluster(geometry)) {
      count(counts, entry.hostOffset(), geometry.clusterSize(), times);
    }
  }

  private void count(ReferenceCounts counts, long hostOffset, long length, int times)
      throws IOException {
    if (hostOffset + length - fileSize >= geometry.clusterSize()) {
      throw corrupt(
          hostOffset,
          "entry",
          "leads a cluster or more behind the end of the file, 0x%x".formatted(fileSize));
    }
    counts.addAll(
        geometry.clusterIndex(hostOffset), geometry.clusterIndex(hostOffset + length - 1), times);
  }

  private CorruptImageException corrupt(long at, String field, String problem) {
    return new CorruptImageException(
        metadata.name, at, field, problem, "run a check; nothing was changed");
  }

  /**
   * Passes if every count can be changed.
   *
   * @throws UnsupportedFeatureException if a count is too narrow for one reference more
   * @throws CorruptImageException if a count is smaller than the references that are lost
   */
  void requirePossible() throws IOException {
    each(
        gained,
        (cluster, net) -> {
          long now = metadata.counts.count(cluster);
          if (now == 0) {
            throw corrupt(geometry.clusterOffset(cluster), "refcount", "0 for a cluster in use");
          }
          if (net > 0 && Long.compareUnsigned(now, geometry.maxRefcount() - net) > 0) {
            throw new UnsupportedFeatureException(
                metadata.name,
                geometry.clusterOffset(cluster),
                "refcount",
                "%d references more than %s; %d bits are not enough for them"
                    .formatted(net, Long.toUnsignedString(now), geometry.refcountBits()),
                "delete a snapshot, or convert the image to one with wider refcounts");
          }
        });
    each(
        lost,
        (cluster, net) -> {
          long now = metadata.counts.count(cluster);
          if (net < 0 && Long.compareUnsigned(now, -net) < 0) {
            throw corrupt(
                geometry.clusterOffset(cluster),
                "refcount",
                "%d for %d references".formatted(now, -net));
          }
        });
  }

  /** Raises, in the cache, the counts of what is gained. */
  void raise() throws IOException {
    each(
        gained,
        (cluster, net) -> {
          if (net > 0) {
            metadata.counts.add(cluster, net);
          }
        });
  }

  /**
   * Lowers, in the cache, the counts of what is lost, and gives to the host what becomes free. Only
   * when nothing on the disk leads there any more.
   */
  void lower() throws IOException {
    long[] run = {0, 0};
    each(
        lost,
        (cluster, net) -> {
          if (net >= 0) {
            return;
          }
          if (net < -1) {
            metadata.counts.add(cluster, net + 1);
          }
          if (run[0] + run[1] != cluster) {
            release(run);
            run[0] = cluster;
          }
          run[1]++;
        });
    release(run);
  }

  private void release(long[] run) throws IOException {
    if (run[1] > 0) {
      metadata.allocator.release(run[0], run[1]);
    }
    run[1] = 0;
  }

  private interface Visitor {
    /** Called for each cluster in ascending order, with what it gains or, below 0, loses. */
    void cluster(long cluster, long net) throws IOException;
  }

  private void each(ReferenceCounts counts, Visitor visitor) throws IOException {
    for (long at = counts.nextChunk(0);
        at >= 0;
        at = counts.nextChunk(at + ReferenceCounts.CHUNK)) {
      for (long cluster = at; cluster < at + ReferenceCounts.CHUNK; cluster++) {
        if (counts.get(cluster) != 0) {
          visitor.cluster(cluster, (long) gained.get(cluster) - lost.get(cluster));
        }
      }
    }
  }
}
