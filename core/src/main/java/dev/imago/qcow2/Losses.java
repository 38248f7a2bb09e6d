package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.RepairResult.Lost;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Lists which parts of the active disk cannot be reached, in guest order. Reads only. */
final class Losses {
  private final Header header;
  private final Geometry g;
  private final long fileSize;
  private final TableReader reader;
  private final List<Lost> lost = new ArrayList<>();

  private Losses(Header header, long fileSize, TableReader reader) {
    this.header = header;
    this.g = header.geometry();
    this.fileSize = fileSize;
    this.reader = reader;
  }

  /** At most {@link CheckResult#MAX_FINDINGS} of them. */
  static List<Lost> find(Header header, long fileSize, TableReader reader) throws IOException {
    Losses losses = new Losses(header, fileSize, reader);
    List<long[]> tables = new ArrayList<>();
    reader.words(
        header.l1TableOffset(), header.l1Size(), (index, word) -> losses.l1(index, word, tables));
    for (long[] table : tables) {
      losses.l2(table[0], table[1]);
    }
    return losses.lost;
  }

  private void l1(long index, long word, List<long[]> tables) {
    long hostOffset = word & Geometry.OFFSET_MASK;
    long coverage = g.l2Coverage();
    long guestOffset = index * coverage;
    if (hostOffset == 0 || guestOffset >= header.size()) {
      return;
    }
    if (g.inCluster(hostOffset) != 0) {
      add(guestOffset, coverage, hostOffset, "its L2 table is not cluster aligned");
    } else if (beyond(hostOffset, g.clusterSize())) {
      add(guestOffset, coverage, hostOffset, "its L2 table lies behind the end of the file");
    } else if (tables.size() < TableSet.MAX_TABLES) {
      tables.add(new long[] {hostOffset, guestOffset});
    }
  }

  private void l2(long hostOffset, long firstGuestOffset) throws IOException {
    if (lost.size() >= CheckResult.MAX_FINDINGS || reader.isHole(hostOffset, g.clusterSize())) {
      return;
    }
    ByteBuffer table = reader.read(hostOffset, g.clusterSize());
    int width = g.l2EntryBytes();
    long guestOffset = firstGuestOffset;
    for (int at = 0; at < table.limit(); at += width, guestOffset += g.clusterSize()) {
      long word = table.getLong(at);
      if (word != 0 && guestOffset < header.size()) {
        entry(word, guestOffset);
      }
    }
  }

  private void entry(long word, long guestOffset) {
    if ((word & Geometry.COMPRESSED) != 0) {
      long hostOffset = g.compressedOffset(word);
      if (g.externalData()) {
        add(guestOffset, g.clusterSize(), hostOffset, "compressed, but there is a data file");
      } else if (beyond(hostOffset, g.compressedLength(word))) {
        add(guestOffset, g.clusterSize(), hostOffset, "behind the end of the file");
      }
      return;
    }
    long hostOffset = word & Geometry.OFFSET_MASK;
    if (g.inCluster(hostOffset) != 0) {
      add(guestOffset, g.clusterSize(), hostOffset, "not cluster aligned");
    } else if (hostOffset != 0 && !g.externalData() && beyond(hostOffset, g.clusterSize())) {
      add(guestOffset, g.clusterSize(), hostOffset, "behind the end of the file");
    }
  }

  private boolean beyond(long hostOffset, long bytes) {
    return hostOffset + bytes - fileSize >= g.clusterSize();
  }

  private void add(long guestOffset, long length, long hostOffset, String why) {
    if (lost.size() < CheckResult.MAX_FINDINGS) {
      long inDisk = Math.min(length, header.size() - guestOffset);
      lost.add(new Lost(guestOffset, inDisk, hostOffset, why));
    }
  }
}
