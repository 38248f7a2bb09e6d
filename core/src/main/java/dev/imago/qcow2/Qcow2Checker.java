package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.Progress;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.RefcountBlock;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;

/**
 * Compares what an image counts with what it uses, and says what differs in QEMU's words. Reads
 * only.
 *
 * <p>Spec: qcow2 digest, section 14.
 */
final class Qcow2Checker {
  private static final long REFTABLE_RESERVED = 0x1ff;
  private static final long[] FOUR_COUNTS = fourCounts();

  private final Header header;
  private final Geometry g;
  private final TableReader reader;
  private final Findings findings = new Findings();
  private final ReferenceWalk walk;
  private final ReferenceCounts counts;
  private final Ticker ticker;
  private long[] reftable = new long[0];
  private long highestCluster = -1;
  private Set<Long> overlaps = Set.of();

  private Qcow2Checker(Storage storage, TableReader reader, long fileSize, Progress progress)
      throws IOException {
    HeaderCluster cluster = HeaderReader.readForCheck(storage);
    this.header = cluster.header();
    this.g = header.geometry();
    this.reader = reader;
    this.walk = new ReferenceWalk(storage, cluster, fileSize, reader, findings);
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
      return new Qcow2Checker(storage, reader, fileSize, progress).run();
    }
  }

  private CheckResult run() throws IOException {
    try {
      ticker.total = Math.max(1, header.l1Size() * 2);
      walk.run(ticker::tick);
      countRefcountStructures();
      overlaps = walk.overlaps();
      compareAll();
      for (long number : overlaps.stream().sorted().toList()) {
        findings.corruption(
            "ERROR cluster %d holds metadata, but something else refers to it too", number);
      }
      if (!walk.allFlagged() || findings.any()) {
        checkCopiedFlags();
      }
    } catch (ReferenceCounts.TooScatteredException e) {
      findings.error("ERROR %s", e.problem());
    }
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

  private void countRefcountStructures() throws IOException {
    long bytes = g.clusterOffset(header.refcountTableClusters());
    if (!walk.owned("the refcount table", header.refcountTableOffset(), bytes)) {
      return;
    }
    reftable = new long[(int) (bytes / Geometry.ENTRY_BYTES)];
    reader.words(
        header.refcountTableOffset(), reftable.length, (i, word) -> reftable[(int) i] = word);
    for (int i = 0; i < reftable.length; i++) {
      long hostOffset = reftable[i] & ~REFTABLE_RESERVED;
      if (reftable[i] == 0) {
        continue;
      }
      if ((reftable[i] & REFTABLE_RESERVED) != 0) {
        findings.corruption("ERROR refcount table entry %d has reserved bits set", i);
      } else if (g.inCluster(hostOffset) != 0) {
        findings.corruption(
            "ERROR refcount block %d is not cluster aligned; refcount table entry corrupted", i);
      } else if (hostOffset < 0 || g.clusterIndex(hostOffset) >= walk.clusters()) {
        findings.corruption("ERROR refcount block %d is outside image", i);
        reftable[i] = 0;
      } else {
        counts.add(g.clusterIndex(hostOffset), 1);
        int references = counts.get(g.clusterIndex(hostOffset));
        if (references != 1) {
          findings.corruption("ERROR refcount block %d refcount=%d", i, references);
        }
      }
    }
  }

  /** Compares all stored counts with ours; afterwards {@link #counts} holds the stored ones. */
  private void compareAll() throws IOException {
    long clusters = walk.clusters();
    Set<Long> twice = repeatedBlocks();
    Set<Long> seen = new HashSet<>();
    long blocks = Math.min(reftable.length, g.reftableIndex(clusters - 1) + 1);
    for (int i = 0; i < blocks; i++) {
      long first = g.firstClusterOfBlock(i);
      long end = Math.min(first + g.refcountsPerBlock(), clusters);
      long hostOffset = reftable[i] & ~REFTABLE_RESERVED;
      if (hostOffset == 0 || reader.isHole(hostOffset, g.clusterSize())) {
        compareWithZero(first, end);
      } else if (g.inCluster(hostOffset) != 0) {
        findings.error("Can't get refcounts for clusters %d to %d", first, end - 1);
      } else {
        ByteBuffer block = reader.read(hostOffset, g.clusterSize());
        boolean again = twice.contains(hostOffset) && !seen.add(hostOffset);
        compare(block, first, end, again);
      }
      ticker.tick();
    }
    compareWithZero(g.firstClusterOfBlock(blocks), clusters);
  }

  /** Blocks to which several table entries lead. */
  private Set<Long> repeatedBlocks() {
    long[] sorted = reftable.clone();
    Arrays.sort(sorted);
    Set<Long> repeated = new HashSet<>();
    for (int i = 1; i < sorted.length; i++) {
      if (sorted[i] != 0 && sorted[i] == sorted[i - 1]) {
        repeated.add(sorted[i] & ~REFTABLE_RESERVED);
      }
    }
    return repeated;
  }

  private void compareWithZero(long first, long end) throws IOException {
    for (long at = nextChunk(first); at >= 0 && at < end; at = nextChunk(chunkEnd(at))) {
      for (long number = at; number < Math.min(end, chunkEnd(at)); number++) {
        compare(number, 0);
      }
    }
  }

  /**
   * Compares with a block's counts.
   *
   * @param again whether another table entry led to this block: its leaks are not told again
   */
  private void compare(ByteBuffer block, long first, long end, boolean again) throws IOException {
    for (long at = again ? nextChunk(first) : first; at >= 0 && at < end; ) {
      long stop = Math.min(end, chunkEnd(at));
      if (again || !counts.chunkIsEmpty(at) || !allZero(block, at - first, stop - first)) {
        if (!sameChunk(block, (int) (at - first), at, stop)) {
          for (long number = at; number < stop; number++) {
            compare(number, RefcountBlock.get(block, (int) (number - first), g.refcountOrder()));
          }
        }
      }
      at = again ? nextChunk(stop) : stop;
    }
  }

  /** Whether a whole chunk is as it should be, found out in the quick way for 16-bit counts. */
  private boolean sameChunk(ByteBuffer block, int from, long first, long end) {
    byte[] chunk = counts.narrowChunk(first);
    if (chunk == null || g.refcountOrder() != 4 || end - first != ReferenceCounts.CHUNK) {
      return false;
    }
    for (int i = 0; i < chunk.length; i++) {
      if (block.getLong(from * 2 + i * 8) != FOUR_COUNTS[chunk[i] & 0xff]) {
        return false;
      }
    }
    for (int i = ReferenceCounts.CHUNK - 1; i >= 0; i--) {
      if ((chunk[i >>> 2] >>> (i & 3) * 2 & 3) != 0) {
        highestCluster = Math.max(highestCluster, first + i);
        return true;
      }
    }
    return true;
  }

  /** The word of four 16-bit counts for each byte of four 2-bit counts. */
  private static long[] fourCounts() {
    long[] words = new long[256];
    for (int i = 0; i < words.length; i++) {
      words[i] = (i & 3L) << 48 | (i >>> 2 & 3L) << 32 | (i >>> 4 & 3L) << 16 | i >>> 6;
    }
    return words;
  }

  private void compare(long number, long stored) throws IOException {
    int counted = counts.get(number);
    if (counted != 0 || stored != 0) {
      highestCluster = Math.max(highestCluster, number);
    }
    if (stored != counted) {
      differs(number, stored, counted);
    }
  }

  private void differs(long number, long stored, int counted) throws IOException {
    overlaps.remove(number);
    boolean overflow = Long.compareUnsigned(counted, g.maxRefcount()) > 0;
    if (overflow) {
      findings.corruption("ERROR: overflow cluster offset=0x%x", g.clusterOffset(number));
    }
    if (Long.compareUnsigned(stored, counted) > 0) {
      findings.leak(
          "Leaked cluster %d refcount=%s reference=%d",
          number, Long.toUnsignedString(stored), counted);
    } else if (!overflow || stored != g.maxRefcount()) {
      findings.corruption("ERROR cluster %d refcount=%d reference=%d", number, stored, counted);
    }
    if (counted != 0) {
      boolean huge = stored < 0 || stored > Integer.MAX_VALUE;
      counts.set(number, huge ? Integer.MAX_VALUE : (int) stored);
    }
  }

  private boolean allZero(ByteBuffer block, long from, long to) {
    int order = g.refcountOrder();
    int at = (int) (from << order >>> 3);
    int end = (int) ((to << order) + 7 >>> 3);
    for (; at + 8 <= end; at += 8) {
      if (block.getLong(at) != 0) {
        return false;
      }
    }
    for (; at < end; at++) {
      if (block.get(at) != 0) {
        return false;
      }
    }
    return true;
  }

  private long nextChunk(long from) {
    // A block of few counts may begin within a chunk.
    return counts.chunkIsEmpty(from) ? counts.nextChunk(from) : from;
  }

  private static long chunkEnd(long number) {
    return (number | ReferenceCounts.CHUNK - 1) + 1;
  }

  /** COPIED must say exactly that the stored count is 1, in the active tables. */
  private void checkCopiedFlags() throws IOException {
    reader.words(
        header.l1TableOffset(),
        header.l1Size(),
        (index, word) -> {
          long hostOffset = word & Geometry.OFFSET_MASK;
          if (hostOffset != 0) {
            int refcount = stored(hostOffset);
            if ((refcount == 1) != ((word & Geometry.COPIED) != 0)) {
              findings.corruption(
                  "ERROR OFLAG_COPIED L2 cluster: l1_index=%d l1_entry=%x refcount=%d",
                  index, word, refcount);
            }
          }
        });
    walk.l2Tables()
        .forEach(
            (hostOffset, times, active) -> {
              if (active && !reader.isHole(hostOffset, g.clusterSize())) {
                checkCopiedFlags(reader.read(hostOffset, g.clusterSize()));
              }
              ticker.tick();
            });
  }

  private void checkCopiedFlags(ByteBuffer table) {
    int width = g.l2EntryBytes();
    for (int at = 0; at < table.limit(); at += width) {
      long word = table.getLong(at);
      if ((word & Geometry.COMPRESSED) != 0 || !L2Walk.allocated(word, g)) {
        continue;
      }
      int refcount = g.externalData() ? 1 : stored(word & Geometry.OFFSET_MASK);
      if ((refcount == 1) != ((word & Geometry.COPIED) != 0)) {
        findings.corruption(
            "ERROR OFLAG_COPIED data cluster: l2_entry=%x refcount=%d", word, refcount);
      }
    }
  }

  private int stored(long hostOffset) {
    long number = g.clusterIndex(hostOffset);
    return number < counts.clusters() ? counts.get(number) : 0;
  }
}
