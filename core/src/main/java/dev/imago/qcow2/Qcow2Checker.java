package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.Progress;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Compares what an image counts with what it uses, and says what differs in QEMU's words. Reads
 * only.
 *
 * <p>Spec: qcow2 digest, section 14.
 */
final class Qcow2Checker {
  private final Storage storage;
  private final HeaderCluster cluster;
  private final Header header;
  private final Geometry g;
  private final TableReader reader;
  private final Findings findings;
  private final ReferenceWalk walk;
  private final ReferenceCounts counts;
  private final Ticker ticker;
  private long[] reftable = new long[0];
  private long highestCluster = -1;
  private Set<Long> overlaps = Set.of();
  private boolean needsRebuild;
  private int largestOverflow;
  private boolean countable = true;
  private long structureCorruptions;

  /** Numbers of the clusters that the refcount table and its blocks were counted for. */
  private long[] structures = new long[16];

  private int structureCount;

  /**
   * A check to come.
   *
   * @param lenient whether snapshots' extra data may be longer than allowed
   * @throws dev.imago.image.ImageFormatException if the header is too bad for a check
   */
  Qcow2Checker(
      Storage storage,
      TableReader reader,
      long fileSize,
      Findings findings,
      boolean lenient,
      Progress progress)
      throws IOException {
    this.storage = storage;
    this.cluster = HeaderReader.readForCheck(storage);
    this.header = cluster.header();
    this.g = header.geometry();
    this.reader = reader;
    this.findings = findings;
    this.walk = new ReferenceWalk(storage, cluster, fileSize, reader, findings, lenient);
    this.counts = walk.counts();
    this.ticker = new Ticker(progress);
  }

  /** Tells a {@link Progress} of tables looked at; it learns how many there are on the way. */
  private static final class Ticker {
    private final Progress progress;
    private long done;
    private long total = 1;

    Ticker(Progress progress) {
      this.progress = progress;
    }

    void tick() {
      if ((++done & 0xff) == 0) {
        progress.at(Math.min(done, total), total);
      }
    }

    void end() {
      progress.at(total, total);
    }
  }

  /** See {@link Qcow2#check}. */
  static CheckResult check(Storage storage, Progress progress) throws IOException {
    long fileSize = storage.size();
    try (TableReader reader = new TableReader(storage, fileSize)) {
      return new Qcow2Checker(storage, reader, fileSize, new Findings(), false, progress).run();
    }
  }

  private CheckResult run() throws IOException {
    count();
    if (countable) {
      compare(true);
      if (!walk.allFlagged() || findings.any()) {
        checkCopiedFlags();
      }
    }
    return result();
  }

  /**
   * Counts all references.
   *
   * @return false, after a finding, if there are too many to be counted
   */
  boolean count() throws IOException {
    try {
      ticker.total = Math.max(1, header.l1Size() * 2);
      walk.run(ticker::tick);
      long before = findings.corruptions();
      countRefcountStructures();
      structureCorruptions = findings.corruptions() - before;
      overlaps = walk.overlaps();
    } catch (ReferenceCounts.TooScatteredException e) {
      findings.error("ERROR %s", e.problem());
      countable = false;
    }
    return countable;
  }

  /**
   * Compares what was counted with what is stored.
   *
   * @param takeStored whether {@link #counts} is to hold the stored counts afterwards, not ours
   */
  void compare(boolean takeStored) throws IOException {
    Set<Long> agreed = new HashSet<>(overlaps);
    CountComparison comparison =
        comparison(
            new CountComparison.Judge() {
              @Override
              public void differs(long number, long stored, int counted) throws IOException {
                agreed.remove(number);
                found(number, stored, counted);
                if (takeStored && counted != 0) {
                  counts.set(number, clamp(stored));
                }
              }

              @Override
              public void unreadable(long first, long last) {
                needsRebuild = true;
                findings.error("Can't get refcounts for clusters %d to %d", first, last);
              }

              @Override
              public void tick() {
                ticker.tick();
              }
            });
    try {
      comparison.run();
      highestCluster = comparison.highestCluster();
      for (long number : takeStored ? agreed.stream().sorted().toList() : List.<Long>of()) {
        findings.corruption(
            "ERROR cluster %d holds metadata, but something else refers to it too", number);
      }
    } catch (ReferenceCounts.TooScatteredException e) {
      findings.error("ERROR %s", e.problem());
      countable = false;
    }
  }

  /** Lays the stored counts beside {@link #counts} once more. */
  CountComparison comparison(CountComparison.Judge judge) {
    return new CountComparison(g, reader, reftable, counts, walk.clusters(), judge);
  }

  private void found(long number, long stored, int counted) {
    boolean tooMany = Long.compareUnsigned(counted, g.maxRefcount()) > 0;
    if (tooMany) {
      largestOverflow = Math.max(largestOverflow, counted);
      findings.corruption("ERROR: overflow cluster offset=0x%x", g.clusterOffset(number));
    }
    if (Long.compareUnsigned(stored, counted) > 0) {
      findings.leak(
          "Leaked cluster %d refcount=%s reference=%d",
          number, Long.toUnsignedString(stored), counted);
    } else if (!tooMany || stored != g.maxRefcount()) {
      needsRebuild |= stored == 0;
      findings.corruption("ERROR cluster %d refcount=%d reference=%d", number, stored, counted);
    }
  }

  private static int clamp(long unsigned) {
    return unsigned < 0 || unsigned > Integer.MAX_VALUE ? Integer.MAX_VALUE : (int) unsigned;
  }

  private void checkCopiedFlags() throws IOException {
    new CopiedCheck(storage, header, reader, counts, findings, overlaps, Set.of(), false)
        .run(walk.l2Tables(), ticker::tick);
  }

  /** All that was found, and the numbers that go with it. */
  CheckResult result() {
    ticker.end();
    return new CheckResult(
        findings.corruptions(),
        findings.leaks(),
        findings.errors(),
        g.clusters(header.size()),
        walk.statistics().allocated(),
        walk.statistics().fragmented(),
        walk.statistics().compressed(),
        g.clusterOffset(highestCluster + 1),
        findings.lines());
  }

  /** The header as it was when the check began. */
  HeaderCluster cluster() {
    return cluster;
  }

  /** The way through all references. */
  ReferenceWalk walk() {
    return walk;
  }

  /** The refcount table; entries that lead out of the file are 0. */
  long[] reftable() {
    return reftable;
  }

  /**
   * Whether single counts cannot be set right: blocks are bad, or a used cluster counts as free.
   */
  boolean needsRebuild() {
    return needsRebuild;
  }

  /** The most references that a cluster has, if that is more than a count can say; else 0. */
  int largestOverflow() {
    return largestOverflow;
  }

  /** Whether something else refers to a cluster of the refcount table. */
  boolean refcountTableShared() {
    long first = g.clusterIndex(header.refcountTableOffset());
    return overlaps.stream()
        .anyMatch(each -> each >= first && each < first + header.refcountTableClusters());
  }

  /** Whether there is a refcount block for each of these clusters. */
  boolean hasBlocks(long first, long clusters) {
    for (long i = g.reftableIndex(first); i <= g.reftableIndex(first + clusters - 1); i++) {
      if (i >= reftable.length || reftable[(int) i] == 0) {
        return false;
      }
    }
    return true;
  }

  /** Findings that concern the refcount table and its entries. */
  long structureCorruptions() {
    return structureCorruptions;
  }

  /** Takes the refcount table and its blocks out of the counts, and says so. */
  void forgetRefcountStructures() throws IOException {
    Arrays.sort(structures, 0, structureCount);
    for (int i = 0; i < structureCount; ) {
      long number = structures[i];
      int times = 0;
      for (; i < structureCount && structures[i] == number; i++) {
        times++;
      }
      int counted = counts.get(number);
      findings.note(
          "Repairing cluster %d refcount=%d reference=%d", number, counted, counted - times);
      counts.set(number, counted - times);
    }
  }

  private void structure(long number) {
    if (structureCount == structures.length) {
      structures = Arrays.copyOf(structures, structureCount * 2);
    }
    structures[structureCount++] = number;
  }

  /** Clusters that hold one structure, and to which something else refers as well. */
  Set<Long> overlaps() {
    return overlaps;
  }

  private void countRefcountStructures() throws IOException {
    long bytes = g.clusterOffset(header.refcountTableClusters());
    if (!walk.owned("the refcount table", header.refcountTableOffset(), bytes)) {
      needsRebuild = true;
      return;
    }
    for (long i = 0; i < header.refcountTableClusters(); i++) {
      structure(g.clusterIndex(header.refcountTableOffset()) + i);
    }
    reftable = new long[(int) (bytes / Geometry.ENTRY_BYTES)];
    reader.words(
        header.refcountTableOffset(), reftable.length, (i, word) -> reftable[(int) i] = word);
    for (int i = 0; i < reftable.length; i++) {
      long hostOffset = reftable[i] & ~CountComparison.RESERVED;
      if (reftable[i] == 0) {
        continue;
      }
      if ((reftable[i] & CountComparison.RESERVED) != 0) {
        needsRebuild = true;
        findings.corruption("ERROR refcount table entry %d has reserved bits set", i);
      } else if (g.inCluster(hostOffset) != 0) {
        needsRebuild = true;
        findings.corruption(
            "ERROR refcount block %d is not cluster aligned; refcount table entry corrupted", i);
      } else if (hostOffset < 0 || g.clusterIndex(hostOffset) >= walk.clusters()) {
        needsRebuild = true;
        findings.corruption("ERROR refcount block %d is outside image", i);
        reftable[i] = 0;
      } else {
        counts.add(g.clusterIndex(hostOffset), 1);
        structure(g.clusterIndex(hostOffset));
        int references = counts.get(g.clusterIndex(hostOffset));
        if (references != 1) {
          needsRebuild = true;
          findings.corruption("ERROR refcount block %d refcount=%d", i, references);
        }
      }
    }
  }
}
