package dev.imago.qcow2;

import dev.imago.image.Progress;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import java.io.IOException;

/**
 * Changes what an image was made with. Only while no request is under way.
 *
 * <p>First everything is judged, which changes nothing. Then come, in steps each of which leaves a
 * good image behind: what the header alone says, together with a new version 3; a new size; zeroes
 * that version 2 does not know; reference counts of another width; version 2. The last three leave
 * what this image has in memory behind the disk: it can only be closed then.
 *
 * <p>Spec: qcow2 digest, 15.3. Texts are QEMU's.
 */
final class Amender {
  private final Metadata metadata;
  private final Qcow2AmendOptions options;
  private final Header header;
  private final int version;
  private final int bits;

  Amender(Metadata metadata, Qcow2AmendOptions options) {
    this.metadata = metadata;
    this.options = options;
    this.header = metadata.header();
    this.version = options.version() == 0 ? header.version() : options.version();
    this.bits =
        options.refcountBits() == 0 ? header.geometry().refcountBits() : options.refcountBits();
  }

  private boolean upgrades() {
    return version > header.version();
  }

  private boolean downgrades() {
    return version < header.version();
  }

  private boolean otherWidth() {
    return bits != header.geometry().refcountBits();
  }

  private boolean raw() {
    return (header.autoclear() & Header.AUTOCLEAR_RAW_DATA_FILE) != 0;
  }

  /** Whether the image can only be closed afterwards. */
  boolean endsTheImage() {
    return otherWidth() || downgrades();
  }

  /**
   * Refuses what cannot be done; changes nothing.
   *
   * @throws IllegalArgumentException with the reason
   */
  void check(Resizer resizer) throws IOException {
    if (version != 2 && version != 3) {
      throw new IllegalArgumentException("Unknown compatibility level " + version);
    }
    if (bits < 1 || bits > 64 || Integer.bitCount(bits) != 1) {
      throw new IllegalArgumentException(
          "Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (options.dataFile() != null && !header.externalData()) {
      throw new IllegalArgumentException(
          "data-file can only be set for images that use an external data file");
    }
    if (Boolean.TRUE.equals(options.dataFileRaw()) && !raw()) {
      throw new IllegalArgumentException("data-file-raw cannot be set on existing images");
    }
    boolean lazy = (header.compatible() & Header.COMPATIBLE_LAZY_REFCOUNTS) != 0;
    if (otherWidth() && version < 3 && bits != 16) {
      throw new IllegalArgumentException(
          "Refcount widths other than 16 bits require compatibility level 1.1 or above"
              + " (use compat=1.1 or greater)");
    }
    if (Boolean.TRUE.equals(options.lazyRefcounts()) && !lazy && version < 3) {
      throw new IllegalArgumentException(
          "Lazy refcounts only supported with compatibility level 1.1 and above"
              + " (use compat=1.1 or greater)");
    }
    if (options.size() >= 0) {
      resizer.check(options.size(), true, Math.max(version, header.version()));
      metadata.bitmaps.checkResize(options.size());
    }
    if (downgrades()) {
      checkDowngrade();
    }
    // The new header must fit.
    changed(HeaderReader.read(metadata.storage)).write();
    if (upgrades()) {
      AllTables.of(metadata);
    }
    RefcountWidth.requirePossible(metadata, bits);
  }

  private void checkDowngrade() throws IOException {
    long size = options.size() >= 0 ? options.size() : metadata.size();
    if (header.externalData()) {
      throw new IllegalArgumentException("Cannot downgrade an image with a data file");
    }
    boolean kept =
        metadata.snapshots.entries().stream()
            .allMatch(each -> each.diskSize(size) == size && each.vmStateSize() >>> 32 == 0);
    if (!kept) {
      throw new IllegalArgumentException("Internal snapshots prevent downgrade of image");
    }
    long left =
        header.incompatible() & ~(Header.INCOMPATIBLE_DIRTY | Header.INCOMPATIBLE_COMPRESSION_TYPE);
    if (left != 0) {
      throw new IllegalArgumentException(
          "Cannot downgrade an image with incompatible features 0x%x set".formatted(left));
    }
    if (bits != 16) {
      throw new IllegalArgumentException("compat=0.10 requires refcount_bits=16");
    }
    if (!metadata.bitmaps.bitmaps().isEmpty()) {
      throw new IllegalArgumentException(
          "Cannot downgrade an image with bitmaps, which version 2 does not have; remove them"
              + " first");
    }
    AllTables tables = AllTables.of(metadata);
    if (header.compressionType() != Header.COMPRESSION_DEFLATE) {
      tables.entries(
          (table, users, active, at, entry) -> {
            if (entry.compressed()) {
              throw new IllegalArgumentException(
                  "Cannot downgrade an image with zstd compression type and existing compressed"
                      + " clusters");
            }
          },
          Progress.NONE);
    }
  }

  /** What the header says after {@link #changeHeader}. */
  private HeaderCluster changed(HeaderCluster cluster) {
    HeaderCluster changed = upgrades() ? Amendments.upgraded(cluster) : cluster;
    if (options.lazyRefcounts() != null && changed.header().version() >= 3) {
      changed = Amendments.lazyRefcounts(changed, options.lazyRefcounts());
    }
    if (options.dataFile() != null) {
      changed = Amendments.dataFile(changed, options.dataFile());
    }
    if (Boolean.FALSE.equals(options.dataFileRaw())) {
      changed = Amendments.notRaw(changed);
    }
    return changed;
  }

  /** Changes what the header alone says. */
  void changeHeader(Progress progress) throws IOException {
    if (upgrades()) {
      progress.at(0, 2);
      new SnapshotOperations(metadata).complete();
      progress.at(1, 2);
    }
    metadata.changeHeader(this::changed);
    if (upgrades()) {
      progress.at(2, 2);
    }
  }

  /** The rest, when all is on the disk and nothing will be changed through this image any more. */
  void end(Progress progress) throws IOException {
    HeaderCluster cluster = HeaderReader.read(metadata.storage);
    metadata.forgetTables();
    if (downgrades()) {
      ZeroExpansion.run(metadata, cluster.backingName().isPresent(), progress);
    }
    if (otherWidth()) {
      RefcountWidth.change(metadata, bits, progress);
    }
    if (downgrades()) {
      metadata.changeHeader(Amendments::downgraded);
      progress.at(1, 1);
    }
  }
}
