package dev.imago.qcow2;

import dev.imago.image.ImageFormatException;
import dev.imago.qcow2.ondisk.BitmapsExtension;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.HeaderExtension;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * What cluster 0 says of the directory of bitmaps: an extension, and the autoclear bit that says
 * whether it counts. Both change so that the header is whole at every instant, though a crash may
 * leave any of the sectors that were written since the last barrier as it was.
 *
 * <p>Each write stays in one sector, changes only what nobody reads, or happens while the bit is
 * not set. What is in cluster 0 is read anew each time.
 */
final class BitmapsPointer {
  /** What reaches a disk whole or not at all, in bytes. */
  private static final int SECTOR = 512;

  private static final int HEAD_BYTES = HeaderExtension.HEAD_BYTES;

  private final Storage storage;
  private final Durability durability;

  BitmapsPointer(Storage storage, Durability durability) {
    this.storage = storage;
    this.durability = durability;
  }

  /**
   * Makes the header lead to a directory that is on the disk already.
   *
   * @throws IllegalArgumentException if cluster 0 has no room for it; nothing was written then
   */
  void set(BitmapsExtension directory) throws IOException {
    HeaderCluster cluster = OpenParts.readHeader(storage);
    int at = cluster.extensionAt(HeaderExtension.BITMAPS);
    long autoclear = cluster.header().autoclear();
    boolean counts = (autoclear & Header.AUTOCLEAR_BITMAPS) != 0;
    if (at < 0) {
      add(cluster, directory);
    } else {
      requireLength(cluster, at);
      int contents = at + HEAD_BYTES;
      int last = contents + BitmapsExtension.BYTES - 1;
      if (counts && contents / SECTOR != last / SECTOR) {
        writeAutoclear(autoclear & ~Header.AUTOCLEAR_BITMAPS);
        counts = false;
      }
      write(directory.write(), contents);
    }
    if (!counts || at < 0) {
      writeAutoclear(autoclear | Header.AUTOCLEAR_BITMAPS);
    }
  }

  private void requireLength(HeaderCluster cluster, int at) throws ImageFormatException {
    for (HeaderExtension extension : cluster.extensions()) {
      int length = extension.bytes().size();
      if (extension.type() == HeaderExtension.BITMAPS && length != BitmapsExtension.BYTES) {
        throw new ImageFormatException(
            storage.name(),
            at,
            "bitmaps extension",
            "%d bytes; it has %d".formatted(length, BitmapsExtension.BYTES));
      }
    }
  }

  /** Makes the header lead to no directory. */
  void remove() throws IOException {
    HeaderCluster cluster = OpenParts.readHeader(storage);
    writeAutoclear(cluster.header().autoclear() & ~Header.AUTOCLEAR_BITMAPS);
    int at = cluster.extensionAt(HeaderExtension.BITMAPS);
    boolean last =
        !cluster.extensions().isEmpty()
            && cluster.extensions().getLast().type() == HeaderExtension.BITMAPS;
    if (at >= 0 && last) {
      // Its head becomes the end marker. In the middle of others it stays, and says nothing.
      write(ByteBuffer.allocate(HEAD_BYTES), at);
    }
  }

  /**
   * Where the backing file's name must go to make room for an extension at the end of the others;
   * where it is if it is not in the way.
   */
  private static long room(HeaderCluster cluster) {
    Header header = cluster.header();
    long end = cluster.extensionsEnd() + 2L * HEAD_BYTES + BitmapsExtension.BYTES;
    long limit = 1L << header.clusterBits();
    long nameAt = header.backingFileOffset();
    if (nameAt == 0 || nameAt >= end) {
      if (end > limit) {
        throw full();
      }
      return nameAt;
    }
    long moved = Math.max(end, nameAt + header.backingFileSize() + 7 & ~7L);
    if (moved + header.backingFileSize() <= limit) {
      return moved;
    }
    // Old and new name do not fit side by side: all in one sector can change at once.
    if (end + header.backingFileSize() <= SECTOR) {
      return end;
    }
    throw full();
  }

  private static IllegalArgumentException full() {
    return new IllegalArgumentException("No space left in the file header");
  }

  private void add(HeaderCluster cluster, BitmapsExtension directory) throws IOException {
    Header header = cluster.header();
    long nameAt = room(cluster);
    int at = cluster.extensionsEnd();
    HeaderExtension extension = HeaderExtension.of(HeaderExtension.BITMAPS, directory.write());
    if (nameAt != header.backingFileOffset()) {
      if (nameAt < header.backingFileOffset() + header.backingFileSize()) {
        long autoclear = header.autoclear() & ~Header.AUTOCLEAR_BITMAPS;
        write(cluster.withHeader(header.withAutoclear(autoclear)).with(extension).write(), 0);
        return;
      }
      write(ByteBuffer.wrap(cluster.rawBackingName().toArray()), nameAt);
      write(ByteBuffer.allocate(8).putLong(nameAt).flip(), Header.AT_BACKING_FILE);
    }
    ByteBuffer bytes = ByteBuffer.allocate(extension.length() + HEAD_BYTES);
    extension.write(bytes);
    bytes.clear();
    // Behind the end marker nobody looks. Then the head takes the marker's place.
    write(bytes.slice(HEAD_BYTES, bytes.limit() - HEAD_BYTES), at + HEAD_BYTES);
    write(bytes.slice(0, HEAD_BYTES), at);
  }

  private void writeAutoclear(long bits) throws IOException {
    write(ByteBuffer.allocate(8).putLong(bits).flip(), Header.AT_AUTOCLEAR);
  }

  private void write(ByteBuffer bytes, long hostOffset) throws IOException {
    durability.writeLinked(bytes, hostOffset);
  }
}
