package dev.imago.qcow2;

import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import java.io.IOException;

/**
 * Copies clusters of an image under repair to new places, and leads table entries there: in
 * batches, so that a flush makes copies and their counts safe before any entry is changed.
 *
 * <p>The old places keep their counts. What nothing refers to any more has become a leak, which the
 * caller's next count finds; so nothing is freed that something unseen refers to, and no place is
 * used twice in one session.
 */
final class Relocator {
  /** So much is copied before a flush links it, in bytes. */
  private static final long BATCH_BYTES = 64 << 20;

  private static final int BATCH_EDITS = 1 << 14;

  private final Metadata metadata;
  private final Geometry g;
  private final Storage storage;
  private long copiedBytes;

  /** For an image whose counts are right, and which nobody else uses. */
  Relocator(Metadata metadata) {
    this.metadata = metadata;
    this.g = metadata.geometry;
    this.storage = metadata.storage;
  }

  /**
   * Copies clusters to a place of their own; to the host they are holes where the old ones are.
   *
   * @param hostOffset cluster aligned
   * @param clusters that follow one another there and will do so
   * @param references how many entries will lead to each, at most what a count can hold
   * @return host offset of the copy, to which nothing leads yet
   */
  long copy(long hostOffset, long clusters, long references) throws IOException {
    long first = metadata.allocator.takeTogether(clusters).firstCluster();
    try (Buffers.Lease lease = Buffers.take(g.clusterSize())) {
      for (long i = 0; i < clusters; i++) {
        if (references > 1) {
          metadata.counts.add(first + i, references - 1);
        }
        copy(hostOffset + g.clusterOffset(i), g.clusterOffset(first + i), lease);
      }
    }
    metadata.durability.tableWritten();
    copiedBytes += g.clusterOffset(clusters);
    return g.clusterOffset(first);
  }

  private void copy(long from, long to, Buffers.Lease lease) throws IOException {
    int length = g.clusterSize();
    Storage.Run run = storage.run(from, length);
    if (!run.data() && run.length() >= length && storage.holesReadAsZero()) {
      storage.writeZeroes(to, length, Storage.ZeroMode.SPARSE);
      return;
    }
    storage.read(lease.buffer().clear().limit(length), from);
    storage.write(lease.buffer().flip(), to);
  }

  /**
   * Changes a word of a table, once all copies made so far are safe.
   *
   * @param hostOffset of the word, in a cluster that holds nothing but this table
   */
  void lead(long hostOffset, long word) throws IOException {
    int edits;
    metadata.lock.lock();
    try {
      edits = metadata.durability.edit(hostOffset, new long[] {word});
    } finally {
      metadata.lock.unlock();
    }
    if (edits >= BATCH_EDITS || copiedBytes >= BATCH_BYTES) {
      finish();
    }
  }

  /** Makes everything so far safe. */
  void finish() throws IOException {
    copiedBytes = 0;
    metadata.durability.flush();
  }
}
