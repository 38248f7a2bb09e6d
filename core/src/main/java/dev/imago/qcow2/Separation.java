package dev.imago.qcow2;

import dev.imago.image.ImageException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.L2Entry;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Gives guest clusters of the active disk a place of their own that damage has made share one: with
 * another guest cluster, or with metadata. What the guest reads there stays as it is. Of several
 * guest clusters that share one host cluster, that in the table at the lowest guest offset keeps
 * it.
 *
 * <p>The copies are made as a guest's writes are, by the open image, so that a crash loses nothing.
 * The counts must be right, and COPIED with them, so that nothing shared is written in place.
 */
final class Separation {
  private final Qcow2Image image;
  private final Header header;
  private final Geometry g;
  private final ReferenceCounts counts;
  private final Set<Long> metadata;
  private final TableReader reader;
  private final Findings findings;
  private final ReferenceCounts seen;
  private long done;

  /** An L2 table of the active disk. */
  private record Table(long hostOffset, long guestOffset) {}

  /**
   * A separation to come.
   *
   * @param image open for writing
   * @param counts all references
   * @param metadata clusters that hold one structure, and to which something else refers as well
   */
  Separation(
      Qcow2Image image,
      Header header,
      ReferenceCounts counts,
      Set<Long> metadata,
      TableReader reader,
      Findings findings) {
    this.image = image;
    this.header = header;
    this.g = header.geometry();
    this.counts = counts;
    this.metadata = metadata;
    this.reader = reader;
    this.findings = findings;
    this.seen = new ReferenceCounts(counts.clusters(), ReferenceWalk.MEMORY);
  }

  /** Copies what has to be copied, and says how much that was. */
  long run() throws IOException {
    List<Table> tables = new ArrayList<>();
    reader.words(
        header.l1TableOffset(), header.l1Size(), (index, word) -> table(index, word, tables));
    for (Table table : tables) {
      entries(table);
    }
    return done;
  }

  private void table(long index, long word, List<Table> tables) throws IOException {
    long hostOffset = word & Geometry.OFFSET_MASK;
    long guestOffset = index * g.l2Coverage();
    if (hostOffset == 0
        || g.inCluster(hostOffset) != 0
        || g.clusterIndex(hostOffset) >= counts.clusters()
        || guestOffset >= header.size()) {
      return;
    }
    long number = g.clusterIndex(hostOffset);
    if (metadata.contains(number)) {
      attempt(guestOffset, number, "the L2 table for", () -> image.separateTable(guestOffset));
    }
    // A table that two entries lead to is counted so, and copied when it is written to.
    if (counts.get(number) == 1 || first(number)) {
      tables.add(new Table(hostOffset, guestOffset));
    }
  }

  private void entries(Table table) throws IOException {
    if (reader.isHole(table.hostOffset, g.clusterSize())) {
      return;
    }
    ByteBuffer bytes = ByteBuffer.allocate(g.clusterSize());
    bytes.put(reader.read(table.hostOffset, g.clusterSize())).flip();
    long guestOffset = table.guestOffset;
    for (int at = 0; at < bytes.limit() && guestOffset < header.size(); at += g.l2EntryBytes()) {
      long bitmap = g.extendedL2() ? bytes.getLong(at + Long.BYTES) : 0;
      entry(new L2Entry(bytes.getLong(at), bitmap), guestOffset);
      guestOffset += g.clusterSize();
    }
  }

  private void entry(L2Entry entry, long guestOffset) throws IOException {
    if (entry.kind(0, g) == L2Entry.Kind.INVALID) {
      return;
    }
    if (entry.compressed()) {
      long start = g.compressedOffset(entry.descriptor());
      long end = start + g.compressedLength(entry.descriptor());
      for (long number = g.clusterIndex(start); number <= g.clusterIndex(end - 1); number++) {
        if (metadata.contains(number)) {
          separate(guestOffset, g.clusterSize(), number);
          break;
        }
      }
    } else if (entry.hasCluster(g)) {
      long number = g.clusterIndex(entry.hostOffset());
      boolean shared = number < counts.clusters() && counts.get(number) > 1;
      if (shared && (metadata.contains(number) || !first(number))) {
        separate(entry, guestOffset, number);
      }
    }
  }

  /** Moves all that an entry keeps. Of subclusters it is enough to write one: all follow. */
  private void separate(L2Entry entry, long guestOffset, long number) throws IOException {
    if (!g.extendedL2()) {
      separate(guestOffset, g.clusterSize(), number);
      return;
    }
    int data = entry.nextData(0, g);
    if (data < g.subclusters()) {
      long size = g.clusterSize() / g.subclusters();
      separate(guestOffset + data * size, size, number);
    }
  }

  private boolean first(long number) throws IOException {
    if (seen.get(number) != 0) {
      return false;
    }
    seen.set(number, 1);
    return true;
  }

  private void separate(long guestOffset, long bytes, long number) throws IOException {
    int length = (int) Math.min(bytes, header.size() - guestOffset);
    if (length > 0) {
      attempt(
          guestOffset, number, "the guest's cluster at", () -> image.separate(guestOffset, length));
    }
  }

  /** Whether it is the image that is at fault, not the disk below it. */
  private static boolean unreadable(IOException e) {
    return e instanceof ImageException || e instanceof InflatedClusters.BadClusterException;
  }

  private interface Copy {
    void run() throws IOException;
  }

  private void attempt(long guestOffset, long number, String what, Copy copy) throws IOException {
    try {
      copy.run();
      done++;
      findings.note(
          "Repairing cluster %d: %s guest offset 0x%x has been copied to a cluster of its own",
          number, what, guestOffset);
    } catch (IOException e) {
      if (!unreadable(e)) {
        throw e;
      }
      findings.note(
          "ERROR cluster %d: %s guest offset 0x%x could not be copied: %s",
          number, what, guestOffset, String.valueOf(e.getMessage()));
    }
  }
}
