package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Set;

/**
 * COPIED must say exactly that the stored count is 1, in the active tables. Judges that, and sets
 * it right if it may.
 *
 * <p>Spec: qcow2 digest, section 5.
 */
final class CopiedCheck {
  private final Storage storage;
  private final Header header;
  private final Geometry g;
  private final TableReader reader;
  private final ReferenceCounts stored;
  private final Findings findings;
  private final Set<Long> untouchable;
  private final Set<Long> copies;
  private final boolean repair;

  /**
   * A look at all flags.
   *
   * @param stored the counts as the image stores them
   * @param untouchable numbers of clusters that hold something else too, and so are not written to
   * @param copies host offsets of L2 tables that are tables whatever they look like
   * @param repair whether to set right what is wrong; what is written is not flushed
   */
  CopiedCheck(
      Storage storage,
      Header header,
      TableReader reader,
      ReferenceCounts stored,
      Findings findings,
      Set<Long> untouchable,
      Set<Long> copies,
      boolean repair) {
    this.storage = storage;
    this.header = header;
    this.g = header.geometry();
    this.reader = reader;
    this.stored = stored;
    this.findings = findings;
    this.untouchable = untouchable;
    this.copies = copies;
    this.repair = repair;
  }

  /** Looks at the active L1 table and at all active L2 tables. */
  void run(TableSet l2Tables, Runnable tick) throws IOException {
    reader.words(header.l1TableOffset(), header.l1Size(), this::l1Entry);
    l2Tables.forEach(
        (hostOffset, times, active) -> {
          if (active && !reader.isHole(hostOffset, g.clusterSize())) {
            table(hostOffset);
          }
          tick.run();
        });
  }

  private void l1Entry(long index, long word) throws IOException {
    long hostOffset = word & Geometry.OFFSET_MASK;
    if (hostOffset == 0) {
      return;
    }
    long refcount = stored(hostOffset);
    if ((refcount == 1) == ((word & Geometry.COPIED) != 0)) {
      return;
    }
    long at = header.l1TableOffset() + index * Geometry.ENTRY_BYTES;
    boolean fixed = mayWrite(at);
    findings.flag(
        fixed,
        "OFLAG_COPIED L2 cluster: l1_index=%d l1_entry=%x refcount=%d",
        index,
        word,
        refcount);
    if (fixed) {
      storage.write(ByteBuffer.allocate(8).putLong(word ^ Geometry.COPIED).flip(), at);
    }
  }

  private void table(long hostOffset) throws IOException {
    ByteBuffer table = reader.read(hostOffset, g.clusterSize());
    boolean plausible =
        !repair || copies.contains(hostOffset) || EntryRules.looksLikeL2Table(table, g);
    int width = g.l2EntryBytes();
    int from = table.limit();
    int to = 0;
    for (int at = 0; at < table.limit(); at += width) {
      long word = table.getLong(at);
      if ((word & Geometry.COMPRESSED) != 0 || !L2Walk.allocated(word, g)) {
        continue;
      }
      long refcount = g.externalData() ? 1 : stored(word & Geometry.OFFSET_MASK);
      if ((refcount == 1) == ((word & Geometry.COPIED) != 0)) {
        continue;
      }
      boolean fixed = plausible && mayWrite(hostOffset);
      findings.flag(fixed, "OFLAG_COPIED data cluster: l2_entry=%x refcount=%d", word, refcount);
      if (fixed) {
        table.putLong(at, word ^ Geometry.COPIED);
        from = Math.min(from, at);
        to = at + 8;
      }
    }
    if (to > from) {
      storage.write(table.slice(from, to - from), hostOffset + from);
    }
  }

  private boolean mayWrite(long at) {
    return repair && !untouchable.contains(g.clusterIndex(at));
  }

  private long stored(long hostOffset) {
    long number = g.clusterIndex(hostOffset);
    return number < stored.clusters() ? stored.get(number) : 0;
  }
}
