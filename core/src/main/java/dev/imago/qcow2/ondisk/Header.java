package dev.imago.qcow2.ondisk;

import dev.imago.image.ImageFormatException;
import dev.imago.image.UnsupportedFeatureException;
import java.nio.ByteBuffer;
import java.util.function.Consumer;

/**
 * The fixed fields at the start of a qcow2 image, big endian. Unsigned 32-bit fields are kept in
 * {@code long} where their top bit may be set; host offsets and the size are never negative.
 *
 * <p>Spec: qcow2 digest, sections 2, 3 and 13.
 *
 * @param version 2 or 3
 * @param backingFileOffset where in cluster 0 the backing file's name is; 0 if there is none
 * @param backingFileSize bytes of that name
 * @param clusterBits 9 to 21
 * @param size bytes of the virtual disk, as stored; see {@link #guestSize()}
 * @param cryptMethod 0 none, 1 AES, 2 LUKS
 * @param l1Size entries of the active L1 table, enough for {@code size}
 * @param l1TableOffset host offset, cluster aligned
 * @param refcountTableOffset host offset, cluster aligned
 * @param refcountTableClusters clusters of the refcount table
 * @param snapshotCount entries of the snapshot table
 * @param snapshotsOffset host offset of the snapshot table, cluster aligned
 * @param incompatible feature bits; 0 in version 2
 * @param compatible feature bits; 0 in version 2
 * @param autoclear feature bits; 0 in version 2
 * @param refcountOrder 0 to 6; 4 in version 2
 * @param headerLength bytes, a multiple of 8; 72 in version 2
 * @param compressionType 0 deflate, 1 zstd
 * @param additional the bytes between the last field that is known here and {@code headerLength}
 */
public record Header(
    int version,
    long backingFileOffset,
    long backingFileSize,
    int clusterBits,
    long size,
    int cryptMethod,
    long l1Size,
    long l1TableOffset,
    long refcountTableOffset,
    long refcountTableClusters,
    long snapshotCount,
    long snapshotsOffset,
    long incompatible,
    long compatible,
    long autoclear,
    int refcountOrder,
    int headerLength,
    int compressionType,
    Bytes additional) {

  /** The first four bytes. */
  public static final int MAGIC = 0x514649fb;

  /** Length of a version 2 header, in bytes. */
  public static final int V2_BYTES = 72;

  /** Length of the version 3 header that is written into new images, in bytes. */
  public static final int V3_BYTES = 112;

  /** Shortest version 3 header, in bytes. */
  static final int V3_MIN_BYTES = 104;

  /** Incompatible: reference counts may be stale. */
  public static final long INCOMPATIBLE_DIRTY = 1;

  /** Incompatible: metadata is known to be bad. */
  public static final long INCOMPATIBLE_CORRUPT = 1 << 1;

  /** Incompatible: guest data is in another file. */
  public static final long INCOMPATIBLE_DATA_FILE = 1 << 2;

  /** Incompatible: the compression type is not 0. */
  public static final long INCOMPATIBLE_COMPRESSION_TYPE = 1 << 3;

  /** Incompatible: L2 entries have 16 bytes and speak of subclusters. */
  public static final long INCOMPATIBLE_EXTENDED_L2 = 1 << 4;

  /** All incompatible bits that are known here. */
  static final long INCOMPATIBLE_KNOWN = (1 << 5) - 1;

  /** Compatible: reference counts may be written late, under the dirty bit. */
  public static final long COMPATIBLE_LAZY_REFCOUNTS = 1;

  /** Autoclear: the bitmaps extension agrees with the data. */
  public static final long AUTOCLEAR_BITMAPS = 1;

  /** Autoclear: the data file is a raw image of the disk too. */
  public static final long AUTOCLEAR_RAW_DATA_FILE = 1 << 1;

  /** Where {@link #cryptMethod} is, in bytes. */
  public static final int AT_CRYPT_METHOD = HeaderRules.AT_CRYPT_METHOD;

  /** {@link #cryptMethod}: legacy AES-CBC. */
  public static final int CRYPT_AES = 1;

  /** {@link #cryptMethod}: LUKS. */
  public static final int CRYPT_LUKS = 2;

  /** {@link #compressionType}: raw deflate. */
  public static final int COMPRESSION_DEFLATE = 0;

  /** {@link #compressionType}: zstd. */
  public static final int COMPRESSION_ZSTD = 1;

  /** Where {@link #backingFileOffset} is: 8 bytes. */
  public static final int AT_BACKING_FILE = 8;

  /** Where {@link #size} is: 8 bytes. */
  public static final int AT_SIZE = 24;

  /** Where {@link #l1Size} (4 bytes) and {@link #l1TableOffset} (8 bytes) are. */
  public static final int AT_L1 = 36;

  /** Where {@link #refcountTableOffset} (8 bytes) and {@link #refcountTableClusters} (4) are. */
  public static final int AT_REFTABLE = 48;

  /** Where {@link #snapshotCount} (4 bytes) and {@link #snapshotsOffset} (8 bytes) are. */
  public static final int AT_SNAPSHOTS = 60;

  /** Where {@link #incompatible} is: 8 bytes; version 3 only. */
  public static final int AT_INCOMPATIBLE = 72;

  /** Where {@link #refcountOrder} is: 4 bytes; version 3 only. */
  public static final int AT_REFCOUNT_ORDER = HeaderRules.AT_REFCOUNT_ORDER;

  /** Where {@link #autoclear} is: 8 bytes; version 3 only. */
  public static final int AT_AUTOCLEAR = 88;

  /** Whether these bytes start like an image that {@link #parse} can judge. Never throws. */
  public static boolean probe(ByteBuffer first) {
    ByteBuffer in = first.slice();
    if (in.remaining() < 8 || in.getInt(0) != MAGIC) {
      return false;
    }
    int version = in.getInt(4);
    return version == 2 || version == 3;
  }

  /**
   * Reads and judges the header; leaves {@code cluster0}'s position where it is.
   *
   * @param cluster0 from its position on, the whole first cluster, or less if the file is shorter
   * @param image the image's name, for messages
   * @throws ImageFormatException if a field breaks the specification or a limit of it
   * @throws UnsupportedFeatureException if the image needs what is not known here
   */
  public static Header parse(ByteBuffer cluster0, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    Header header = HeaderRules.parse(cluster0.slice(), image);
    HeaderRules.checkRefcountTable(header, image);
    return header;
  }

  /**
   * As {@link #parse}, but an image without a refcount table is let through, since that can be
   * repaired.
   */
  public static Header parseForCheck(ByteBuffer cluster0, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    return HeaderRules.parse(cluster0.slice(), image);
  }

  /** Writes {@link #headerLength()} bytes at {@code out}'s position and moves past them. */
  public void write(ByteBuffer out) {
    out.putInt(MAGIC).putInt(version);
    out.putLong(backingFileOffset).putInt((int) backingFileSize);
    out.putInt(clusterBits).putLong(size).putInt(cryptMethod);
    out.putInt((int) l1Size).putLong(l1TableOffset);
    out.putLong(refcountTableOffset).putInt((int) refcountTableClusters);
    out.putInt((int) snapshotCount).putLong(snapshotsOffset);
    if (version >= 3) {
      out.putLong(incompatible).putLong(compatible).putLong(autoclear);
      out.putInt(refcountOrder).putInt(headerLength);
      if (headerLength > V3_MIN_BYTES) {
        out.put((byte) compressionType);
      }
      additional.write(out);
    }
  }

  /** The sizes that follow from it. */
  public Geometry geometry() {
    return new Geometry(clusterBits, refcountOrder, version, externalData(), extendedL2());
  }

  /** Bytes that a guest sees: {@link #size} without the rest that is no whole sector. */
  public long guestSize() {
    return size & -512;
  }

  /** Whether guest data is kept in a data file. */
  public boolean externalData() {
    return (incompatible & INCOMPATIBLE_DATA_FILE) != 0;
  }

  /** Whether L2 entries have 16 bytes. */
  public boolean extendedL2() {
    return (incompatible & INCOMPATIBLE_EXTENDED_L2) != 0;
  }

  /** Whether reference counts may be stale. */
  public boolean dirty() {
    return (incompatible & INCOMPATIBLE_DIRTY) != 0;
  }

  /** Whether metadata is known to be bad. */
  public boolean corrupt() {
    return (incompatible & INCOMPATIBLE_CORRUPT) != 0;
  }

  /** A copy with another size. */
  public Header withSize(long newSize) {
    return edit(d -> d.size = newSize);
  }

  /** A copy with another active L1 table. */
  public Header withL1(long entries, long hostOffset) {
    return edit(
        d -> {
          d.l1Size = entries;
          d.l1TableOffset = hostOffset;
        });
  }

  /** A copy with another refcount table. */
  public Header withRefcountTable(long hostOffset, long clusters) {
    return edit(
        d -> {
          d.refcountTableOffset = hostOffset;
          d.refcountTableClusters = clusters;
        });
  }

  /** A copy with reference counts of another width; the tables of the old one do not fit to it. */
  public Header withRefcountOrder(int order) {
    return edit(d -> d.refcountOrder = order);
  }

  /** A copy with another snapshot table. */
  public Header withSnapshots(long count, long hostOffset) {
    return edit(
        d -> {
          d.snapshotCount = count;
          d.snapshotsOffset = hostOffset;
        });
  }

  /** A copy with other incompatible feature bits. */
  public Header withIncompatible(long bits) {
    return edit(d -> d.incompatible = bits);
  }

  /** A copy with other compatible feature bits. */
  public Header withCompatible(long bits) {
    return edit(d -> d.compatible = bits);
  }

  /** A copy with other autoclear feature bits. */
  public Header withAutoclear(long bits) {
    return edit(d -> d.autoclear = bits);
  }

  /** A copy with the backing file's name elsewhere; 0, 0 for none. */
  public Header withBackingFile(long offset, long length) {
    return edit(
        d -> {
          d.backingFileOffset = offset;
          d.backingFileSize = length;
        });
  }

  /** A version 3 header without features; this one, if it is of version 3 already. */
  public Header upgraded() {
    return edit(HeaderDraft::toVersion3);
  }

  /** A version 2 header, without the bits of all features. */
  public Header downgraded() {
    return edit(HeaderDraft::toVersion2);
  }

  private Header edit(Consumer<HeaderDraft> change) {
    HeaderDraft draft = new HeaderDraft(this);
    change.accept(draft);
    return draft.header();
  }
}
