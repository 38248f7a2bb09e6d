package dev.imago.qcow2;

import dev.imago.image.Progress;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.Storage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes the snapshot table anew if entries of it lack fields or have too much extra data. The old
 * table's clusters are leaked: the caller lowers their counts.
 *
 * <p>Spec: qcow2 digest, sections 7 and 14.
 */
final class SnapshotTableRepair {
  private static final int POINTER_BYTES = 12;

  private final Storage storage;
  private final Header header;
  private final Geometry g;
  private final List<String> lines = new ArrayList<>();
  private final ByteArrayOutputStream table = new ByteArrayOutputStream();
  private int entries;

  /** A repair to come, of an image whose counts are right. */
  SnapshotTableRepair(Storage storage, Header header) {
    this.storage = storage;
    this.header = header;
    this.g = header.geometry();
  }

  /** Repairs, if there is anything to repair; says what it did in QEMU's words. */
  List<String> run() throws IOException {
    if (header.snapshotCount() > 0) {
      SnapshotTable.readLeniently(storage, header, this::entry, lines::add);
    }
    if (!lines.isEmpty()) {
      long place = g.clusterOffset(g.clusters(storage.size()));
      ByteBuffer bytes = ByteBuffer.wrap(table.toByteArray());
      long clusters = Math.max(1, g.clusters(bytes.limit()));
      storage.resize(place + g.clusterOffset(clusters), Storage.Preallocation.OFF);
      storage.write(bytes, place);
      storage.flush();
      count(g.clusterIndex(place), clusters);
      ByteBuffer pointer = ByteBuffer.allocate(POINTER_BYTES);
      pointer.putInt(entries).putLong(entries == 0 ? 0 : place);
      storage.write(pointer.flip(), Header.AT_SNAPSHOTS);
      storage.flush();
    }
    return lines;
  }

  private void entry(SnapshotEntry entry, long at) {
    if (entry.incomplete(header.version())) {
      lines.add("Repairing snapshot table entry %d is incomplete".formatted(entries));
    }
    SnapshotEntry whole =
        entry.incomplete(header.version()) ? entry.completed(header.size()) : entry;
    ByteBuffer bytes = ByteBuffer.allocate(whole.length());
    whole.write(bytes);
    table.writeBytes(bytes.array());
    entries++;
  }

  /** Counts the new table's clusters, to which nothing leads yet. */
  private void count(long first, long clusters) throws IOException {
    long fileSize = storage.size();
    Findings silent = new Findings();
    try (TableReader reader = new TableReader(storage, fileSize)) {
      var checker = new Qcow2Checker(storage, reader, fileSize, silent, true, Progress.NONE);
      if (!checker.count()) {
        throw new IOException(storage.name() + ": " + silent.lines().getLast());
      }
      checker.walk().counts().addAll(first, first + clusters - 1, 1);
      if (checker.hasBlocks(first, clusters)) {
        new CountRepair(storage, g, checker, silent, true).raise();
      } else {
        checker.forgetRefcountStructures();
        long start = Math.max(checker.walk().clusters(), first + clusters);
        new RefcountRebuild(storage, header, checker.walk().counts(), start).run();
      }
    }
  }
}
