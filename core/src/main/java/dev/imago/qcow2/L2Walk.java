package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Looks at L2 tables: counts what they refer to, and how much of the disk the active ones keep. */
final class L2Walk {
  private static final long LOW_HALF = 0xffff_ffffL;

  private final Geometry g;
  private final boolean extended;
  private final ReferenceWalk walk;
  private final TableReader reader;
  private final Findings findings;

  /** In a plain entry all of these bits are 0, but for COPIED. */
  private final long notPlain;

  private final ReferenceCounts counts;
  private final long wholeClusters;
  private boolean unflagged;
  private long allocated;
  private long fragmented;
  private long compressed;

  L2Walk(Header header, ReferenceWalk walk, long fileSize, TableReader reader, Findings findings) {
    g = header.geometry();
    extended = g.extendedL2();
    notPlain = ~(Geometry.OFFSET_MASK & -(long) g.clusterSize());
    counts = walk.counts();
    wholeClusters = g.clusterIndex(fileSize);
    this.walk = walk;
    this.reader = reader;
    this.findings = findings;
  }

  /** Whether an active entry with a host cluster lacks COPIED. */
  boolean unflagged() {
    return unflagged;
  }

  /** Guest clusters that the image keeps itself. */
  long allocated() {
    return allocated;
  }

  /** Of these, how many do not follow the one before on the host. */
  long fragmented() {
    return fragmented;
  }

  /** Of these, how many are compressed. */
  long compressed() {
    return compressed;
  }

  /**
   * Looks at one table.
   *
   * @param times how many L1 tables lead to it
   * @param active whether the active one does
   */
  void table(long hostOffset, int times, boolean active) throws IOException {
    if (reader.isHole(hostOffset, g.clusterSize())) {
      return;
    }
    ByteBuffer table = reader.read(hostOffset, g.clusterSize());
    int width = g.l2EntryBytes();
    long next = 0;
    for (int at = 0; at < table.limit(); at += width) {
      long word = table.getLong(at);
      long bitmap = extended ? table.getLong(at + 8) : 0;
      if ((word | bitmap) == 0) {
        continue;
      }
      long target = word & Geometry.OFFSET_MASK;
      if (active && times == 1 && plain(word, target)) {
        allocated++;
        fragmented += next != 0 && target != next ? 1 : 0;
        next = target + g.clusterSize();
        continue;
      }
      if ((word & Geometry.COMPRESSED) != 0) {
        compressedEntry(word, bitmap, at / width, times, active);
        continue;
      }
      if (standardEntry(word, bitmap, times) && active) {
        unflagged |= (word & Geometry.COPIED) == 0;
        allocated++;
        fragmented += next != 0 && target != next ? 1 : 0;
        next = target + g.clusterSize();
      }
    }
  }

  /** Whether this is the first reference to a data cluster, right in every way; counts it if so. */
  private boolean plain(long word, long target) {
    long index = g.clusterIndex(target);
    return (word & notPlain) == Geometry.COPIED
        && !extended
        && !g.externalData()
        && index > 0
        && index < wholeClusters
        && counts.addFirst(index);
  }

  private void compressedEntry(long word, long bitmap, int index, int times, boolean active)
      throws IOException {
    long hostOffset = g.compressedOffset(word);
    if ((word & Geometry.COPIED) != 0) {
      findings.corruption(
          "ERROR: coffset=0x%x: copied flag must never be set for compressed clusters", hostOffset);
    }
    if (g.externalData()) {
      findings.corruption(
          "ERROR compressed cluster %d with data file, entry=0x%x", index, word & ~Geometry.COPIED);
      return;
    }
    if (bitmap != 0) {
      findings.corruption(
          "ERROR compressed cluster %d with non-zero subcluster allocation bitmap, entry=0x%x",
          index, word & ~Geometry.COPIED);
      return;
    }
    walk.count(hostOffset, g.compressedLength(word), times);
    if (active) {
      allocated++;
      compressed++;
      fragmented++;
    }
  }

  /** Judges and counts an entry; says whether it keeps a host cluster. */
  private boolean standardEntry(long word, long bitmap, int times) throws IOException {
    if ((word & Geometry.L2_RESERVED) != 0) {
      findings.corruption("ERROR found l2 entry with reserved bits set: %x", word);
    }
    boolean zero = !extended && (word & Geometry.READS_AS_ZERO) != 0;
    if (zero && g.version() < 3) {
      findings.corruption("ERROR: Zero cluster entry found in pre-v3 image: l2_entry=%x", word);
    }
    long hostOffset = word & Geometry.OFFSET_MASK;
    if (!allocated(word, g)) {
      if ((bitmap & LOW_HALF) != 0) {
        findings.corruption("ERROR: Unallocated cluster has non-zero subcluster allocation map");
      }
      return false;
    }
    if ((bitmap >>> 32 & bitmap) != 0) {
      findings.corruption(
          "ERROR offset=%x: Allocated cluster has corrupted subcluster allocation bitmap",
          hostOffset);
    }
    boolean empty = EntryRules.holdsNoData(word, bitmap, g);
    if (g.inCluster(hostOffset) != 0) {
      findings.corruption(
          "ERROR offset=%x: %s cluster is not properly aligned; L2 entry corrupted.",
          hostOffset, empty ? "Preallocated" : "Data");
    }
    // What a repair will take away anyway must not look like another user of these clusters.
    boolean placeless = empty && walk.forRepair() && g.inCluster(hostOffset) != 0;
    if (!g.externalData() && !placeless) {
      walk.count(hostOffset, g.clusterSize(), times);
    }
    return true;
  }

  /** Whether a standard entry keeps a host cluster. */
  static boolean allocated(long word, Geometry g) {
    return (word & Geometry.OFFSET_MASK) != 0
        || (g.externalData() && (word & Geometry.COPIED) != 0);
  }
}
