package dev.imago.qcow2;

import dev.imago.image.ImageFormatException;
import dev.imago.image.LuksInfo;
import dev.imago.image.Snapshot;
import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.BitmapsExtension;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a qcow2 image says about itself. Names and texts are as they stand in the image, whoever
 * wrote them; nothing they name was opened.
 *
 * @param version 2 or 3, which QEMU calls compat 0.10 and 1.1
 * @param size bytes of the disk as the guest sees it
 * @param clusterSize in bytes
 * @param refcountBits width of reference counts
 * @param compressionType {@code zlib} or {@code zstd}
 * @param lazyRefcounts whether counts may be written late
 * @param extendedL2 whether clusters have subclusters
 * @param dirty whether the image was not closed cleanly
 * @param corrupt whether someone has marked the image as corrupt
 * @param encryption {@code aes} or {@code luks}, or null
 * @param luks what the LUKS header says, or null if there is none
 * @param backingFile the backing file's name, or null
 * @param backingFormat the backing file's format, or null if the image does not say
 * @param dataFile the data file's name, or null; see {@code externalData}
 * @param externalData whether guest data is in a data file, named or not
 * @param dataFileRaw whether the data file is a raw image of the disk
 * @param l1Bytes of the longest L1 table, the disk's or a snapshot's; it may be longer than needed
 * @param snapshots internal snapshots in the order of the table
 * @param bitmaps dirty bitmaps in the order of their directory; none if nobody kept them up to date
 */
public record Qcow2Info(
    int version,
    long size,
    int clusterSize,
    int refcountBits,
    String compressionType,
    boolean lazyRefcounts,
    boolean extendedL2,
    boolean dirty,
    boolean corrupt,
    @Nullable String encryption,
    @Nullable LuksInfo luks,
    @Nullable String backingFile,
    @Nullable String backingFormat,
    @Nullable String dataFile,
    boolean externalData,
    boolean dataFileRaw,
    long l1Bytes,
    List<Snapshot> snapshots,
    List<Bitmap> bitmaps) {

  /** Keeps copies of the lists. */
  public Qcow2Info {
    snapshots = List.copyOf(snapshots);
    bitmaps = List.copyOf(bitmaps);
  }

  /**
   * A dirty bitmap that is kept in the image.
   *
   * @param name unique in its image
   * @param granularity bytes of the disk that a bit speaks of
   * @param inUse whether a writer has or had it open, so that its contents are stale
   * @param auto whether it is loaded and kept up to date by every writer
   */
  public record Bitmap(String name, long granularity, boolean inUse, boolean auto) {}

  /** See {@link Qcow2#info}. */
  static Qcow2Info read(Storage storage) throws IOException {
    HeaderCluster cluster = HeaderReader.read(storage);
    Header h = cluster.header();
    List<Snapshot> snapshots = new ArrayList<>();
    long[] l1Entries = {h.l1Size()};
    SnapshotTable.read(
        storage,
        h,
        (entry, at) -> {
          snapshots.add(SnapshotStore.describe(entry, h.size()));
          l1Entries[0] = Math.max(l1Entries[0], entry.l1Size());
        });
    return new Qcow2Info(
        h.version(),
        h.guestSize(),
        h.geometry().clusterSize(),
        h.geometry().refcountBits(),
        h.compressionType() == Header.COMPRESSION_ZSTD ? "zstd" : "zlib",
        (h.compatible() & Header.COMPATIBLE_LAZY_REFCOUNTS) != 0,
        h.extendedL2(),
        h.dirty(),
        h.corrupt(),
        switch (h.cryptMethod()) {
          case Header.CRYPT_AES -> "aes";
          case Header.CRYPT_LUKS -> "luks";
          default -> null;
        },
        cluster.luks().isPresent() ? Encryption.luks(storage, cluster).header().info() : null,
        cluster.backingName().orElse(null),
        cluster.backingFormat().orElse(null),
        h.externalData() ? cluster.dataFileName().orElse(null) : null,
        h.externalData(),
        (h.autoclear() & Header.AUTOCLEAR_RAW_DATA_FILE) != 0,
        l1Entries[0] * Long.BYTES,
        snapshots,
        readBitmaps(storage, cluster));
  }

  private static List<Bitmap> readBitmaps(Storage storage, HeaderCluster cluster)
      throws IOException {
    List<Bitmap> bitmaps = new ArrayList<>();
    BitmapsExtension extension = cluster.bitmaps().orElse(null);
    if (extension == null) {
      return bitmaps;
    }
    for (BitmapDirectoryEntry entry : readBitmapDirectory(storage, cluster, extension)) {
      bitmaps.add(
          new Bitmap(
              entry.name(),
              1L << entry.granularityBits(),
              (entry.flags() & BitmapDirectoryEntry.IN_USE) != 0,
              (entry.flags() & BitmapDirectoryEntry.AUTO) != 0));
    }
    return bitmaps;
  }

  /** The directory's entries. What the file does not reach counts as cut off. */
  static List<BitmapDirectoryEntry> readBitmapDirectory(
      Storage storage, HeaderCluster cluster, BitmapsExtension extension) throws IOException {
    long at = extension.directoryOffset();
    long there = Math.clamp(storage.size() - at, 0, extension.directorySize());
    ByteBuffer directory = ByteBuffer.allocate((int) there);
    storage.read(directory, at);
    directory.flip();
    List<BitmapDirectoryEntry> entries = new ArrayList<>();
    int clusterSize = cluster.header().geometry().clusterSize();
    for (long i = 0; i < extension.count(); i++) {
      long entryAt = at + directory.position();
      entries.add(BitmapDirectoryEntry.parse(directory, entryAt, clusterSize, storage.name()));
    }
    if (extension.directorySize() != directory.position()) {
      throw new ImageFormatException(
          storage.name(),
          at,
          "bitmap directory",
          "%d bytes of %d bitmaps, but the header says %d"
              .formatted(directory.position(), extension.count(), extension.directorySize()));
    }
    return entries;
  }
}
