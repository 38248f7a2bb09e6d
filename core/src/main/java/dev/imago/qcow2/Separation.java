package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.L2Entry;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Gives guest clusters a place of their own that damage has made share one: with another guest
 * cluster of the active disk, or with metadata that cannot be moved itself. What the guest reads
 * there stays as it is. Of several guest clusters that share one host cluster, that in the table at
 * the lowest guest offset keeps it.
 *
 * <p>In an encrypted image the place is part of the key: there guest clusters go on sharing, which
 * their count says, and only those in the header are copied, where no guest's data can be.
 */
final class Separation {
  private final Header header;
  private final Geometry g;
  private final ReferenceWalk walk;
  private final ReferenceCounts counts;
  private final Set<Long> metadata;
  private final TableReader reader;
  private final StaleBitmaps bitmaps;
  private final Findings findings;
  private final Relocator relocator;
  private final ReferenceCounts seen;
  private long done;

  /** An L2 table of the active disk. */
  private record Table(long hostOffset, long guestOffset) {}

  /**
   * A separation to come, of an image whose counts are right, as are those of its tables.
   *
   * @param walk has counted everything
   * @param metadata clusters that hold one structure, and to which something else refers as well
   */
  Separation(
      Metadata image,
      Header header,
      ReferenceWalk walk,
      Set<Long> metadata,
      TableReader reader,
      StaleBitmaps bitmaps,
      Findings findings) {
    this.header = header;
    this.g = header.geometry();
    this.walk = walk;
    this.counts = walk.counts();
    this.metadata = metadata;
    this.reader = reader;
    this.bitmaps = bitmaps;
    this.findings = findings;
    this.relocator = new Relocator(image);
    this.seen = new ReferenceCounts(counts.clusters(), ReferenceWalk.MEMORY);
  }

  /** Copies what has to be copied, and says how much that was. */
  long run() throws IOException {
    if (header.externalData()) {
      return 0;
    }
    List<Table> tables = new ArrayList<>();
    reader.words(
        header.l1TableOffset(), header.l1Size(), (index, word) -> table(index, word, tables));
    for (Table table : tables) {
      entries(table.hostOffset, table.guestOffset);
    }
    if (!metadata.isEmpty()) {
      walk.l2Tables()
          .forEach(
              (hostOffset, times, active) -> {
                if (!active) {
                  entries(hostOffset, -1);
                }
              });
    }
    relocator.finish();
    return done;
  }

  private void table(long index, long word, List<Table> tables) throws IOException {
    long hostOffset = word & Geometry.OFFSET_MASK;
    boolean counted =
        hostOffset != 0
            && g.inCluster(hostOffset) == 0
            && g.clusterIndex(hostOffset) < counts.clusters();
    if (counted && first(g.clusterIndex(hostOffset))) {
      tables.add(new Table(hostOffset, index * g.l2Coverage()));
    }
  }

  /** Looks at a table; -1 stands for one of snapshots alone. */
  private void entries(long table, long firstGuestOffset) throws IOException {
    boolean writable = !metadata.contains(g.clusterIndex(table));
    if (!writable || reader.isHole(table, g.clusterSize())) {
      return;
    }
    ByteBuffer bytes = ByteBuffer.allocate(g.clusterSize());
    bytes.put(reader.read(table, g.clusterSize())).flip();
    long guestOffset = firstGuestOffset;
    for (int at = 0; at < bytes.limit(); at += g.l2EntryBytes()) {
      long bitmap = g.extendedL2() ? bytes.getLong(at + Long.BYTES) : 0;
      entry(new L2Entry(bytes.getLong(at), bitmap), table, at, guestOffset);
      guestOffset += firstGuestOffset < 0 ? 0 : g.clusterSize();
    }
  }

  private void entry(L2Entry entry, long table, int at, long guestOffset) throws IOException {
    long word = entry.descriptor();
    if (entry.compressed()) {
      long start = g.compressedOffset(word);
      long first = g.clusterIndex(start);
      long last = g.clusterIndex(start + g.compressedLength(word) - 1);
      for (long number = first; number <= last && last < counts.clusters(); number++) {
        if (metadata.contains(number)) {
          if (g.clusterOffset(counts.clusters() + last - first + 2) > g.compressedLimit()) {
            return; // a copy behind the end could not be named
          }
          long place = copy(first, last - first + 1, table, at, guestOffset);
          lead(table + at, place, word - g.clusterOffset(first) + place);
          return;
        }
      }
    } else if (entry.hasCluster(g) && g.inCluster(entry.hostOffset()) == 0) {
      long number = g.clusterIndex(entry.hostOffset());
      boolean shared = number < counts.clusters() && counts.get(number) > 1;
      if (shared && (metadata.contains(number) || sharedByGuests(number, guestOffset))) {
        separate(entry, number, table, at, guestOffset);
      }
    }
  }

  /** Whether another guest cluster of the active disk, that was met before, keeps this one. */
  private boolean sharedByGuests(long number, long guestOffset) throws IOException {
    return guestOffset >= 0 && header.cryptMethod() != Header.CRYPT_LUKS && !first(number);
  }

  private boolean first(long number) throws IOException {
    if (seen.get(number) != 0) {
      return false;
    }
    seen.set(number, 1);
    return true;
  }

  private void separate(L2Entry entry, long number, long table, int at, long guestOffset)
      throws IOException {
    long flags = entry.descriptor() & ~(Geometry.OFFSET_MASK | Geometry.COPIED);
    if (entry.nextData(0, g) == g.subclusters() && entry.kind(0, g) != L2Entry.Kind.INVALID) {
      // Nothing is read there: it is enough to give up the place.
      bitmaps.distrust(metadata);
      tell(number, table, at, guestOffset, "gives up this place, which it reads nothing of");
      relocator.lead(table + at, flags);
      return;
    }
    long place = copy(number, 1, table, at, guestOffset);
    boolean own = place != 0 && guestOffset >= 0 && references(table) == 1;
    lead(table + at, place, place | flags | (own ? Geometry.COPIED : 0));
  }

  private void lead(long hostOffset, long place, long word) throws IOException {
    if (place != 0) {
      relocator.lead(hostOffset, word);
    }
  }

  /** L1 tables that lead to an L2 table, to which nothing else refers. */
  private int references(long table) {
    return counts.get(g.clusterIndex(table));
  }

  private long copy(long number, long clusters, long table, int at, long guestOffset)
      throws IOException {
    if (Long.compareUnsigned(references(table), g.maxRefcount()) > 0) {
      return 0;
    }
    bitmaps.distrust(metadata);
    long place = relocator.copy(g.clusterOffset(number), clusters, references(table));
    tell(number, table, at, guestOffset, "has been copied to a cluster of its own");
    return place;
  }

  private void tell(long number, long table, int at, long guestOffset, String what) {
    done++;
    String whose =
        guestOffset >= 0
            ? "the guest's cluster at guest offset 0x%x".formatted(guestOffset)
            : "a snapshot's cluster, entry %d of the L2 table at 0x%x,"
                .formatted(at / g.l2EntryBytes(), table);
    findings.note("Repairing cluster %d: %s %s", number, whose, what);
  }
}
