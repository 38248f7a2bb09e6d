package dev.imago.qcow2.ondisk;

import dev.imago.image.ImageFormatException;
import dev.imago.image.UnsupportedFeatureException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** What makes a header acceptable, in the order in which the digest's section 13 lists it. */
final class HeaderRules {
  static final int AT_BACKING_OFFSET = 8;
  static final int AT_BACKING_SIZE = 16;
  static final int AT_CRYPT_METHOD = 32;

  static final int MAX_BACKING_NAME = 1023;
  static final int MAX_SNAPSHOTS = 65536;

  private static final int AT_VERSION = 4;
  private static final int AT_CLUSTER_BITS = 20;
  private static final int AT_L1_OFFSET = 40;
  private static final int AT_REFTABLE_CLUSTERS = 56;
  private static final int AT_SNAPSHOTS_OFFSET = 64;
  private static final int AT_COMPATIBLE = 80;
  static final int AT_REFCOUNT_ORDER = 96;
  private static final int AT_HEADER_LENGTH = 100;
  private static final int AT_COMPRESSION_TYPE = 104;

  private HeaderRules() {}

  static Header parse(ByteBuffer in, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    HeaderDraft d = new HeaderDraft();
    d.additional = Bytes.NONE;
    d.clusterBits = identify(in, image);
    d.version = in.getInt(AT_VERSION);
    readVersion2(in, d);
    if (d.version == 2) {
      d.headerLength = Header.V2_BYTES;
    } else {
      readVersion3(in, image, d);
    }
    checkBackingOffset(d, image);
    checkFeatures(in, d, image);
    checkCompression(d, image);
    if ((d.incompatible & Header.INCOMPATIBLE_EXTENDED_L2) != 0
        && d.clusterBits < Geometry.MIN_EXTENDED_L2_BITS) {
      throw bad(
          image,
          AT_CLUSTER_BITS,
          "cluster_bits",
          "%d; extended L2 entries need clusters of 16 KiB to 2 MiB".formatted(d.clusterBits));
    }
    if (d.refcountOrder < 0 || d.refcountOrder > 6) {
      throw bad(
          image,
          AT_REFCOUNT_ORDER,
          "refcount_order",
          "%s; reference counts may not exceed 64 bits, order 6"
              .formatted(Integer.toUnsignedString(d.refcountOrder)));
    }
    if (d.cryptMethod < 0 || d.cryptMethod > Header.CRYPT_LUKS) {
      throw new UnsupportedFeatureException(
          image,
          AT_CRYPT_METHOD,
          "crypt_method",
          "encryption method %s; known are 0 (none), 1 (AES), 2 (LUKS)"
              .formatted(Integer.toUnsignedString(d.cryptMethod)));
    }
    Header header = d.header();
    checkTables(header, image);
    return header;
  }

  /** Judges magic and version; returns cluster_bits, which tells how long cluster 0 is. */
  static int identify(ByteBuffer in, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    if (in.limit() < 4 || in.getInt(0) != Header.MAGIC) {
      String found = in.limit() < 4 ? "a file too short" : "0x%08x".formatted(in.getInt(0));
      throw bad(image, 0, "magic", "%s; an image in qcow2 format has 0x514649fb".formatted(found));
    }
    need(in, image, Header.V2_BYTES);
    int version = in.getInt(AT_VERSION);
    if (version != 2 && version != 3) {
      throw new UnsupportedFeatureException(
          image,
          AT_VERSION,
          "version",
          "qcow2 version %s; known are 2 and 3".formatted(Integer.toUnsignedString(version)));
    }
    int bits = in.getInt(AT_CLUSTER_BITS);
    if (bits < 9 || bits > 21) {
      throw bad(
          image,
          AT_CLUSTER_BITS,
          "cluster_bits",
          "%s; clusters have 2^9 to 2^21 bytes".formatted(Integer.toUnsignedString(bits)));
    }
    return bits;
  }

  private static void readVersion2(ByteBuffer in, HeaderDraft d) {
    d.backingFileOffset = in.getLong(AT_BACKING_OFFSET);
    d.backingFileSize = u32(in, AT_BACKING_SIZE);
    d.size = in.getLong(Header.AT_SIZE);
    d.cryptMethod = in.getInt(AT_CRYPT_METHOD);
    d.l1Size = u32(in, Header.AT_L1);
    d.l1TableOffset = in.getLong(AT_L1_OFFSET);
    d.refcountTableOffset = in.getLong(Header.AT_REFTABLE);
    d.refcountTableClusters = u32(in, AT_REFTABLE_CLUSTERS);
    d.snapshotCount = u32(in, Header.AT_SNAPSHOTS);
    d.snapshotsOffset = in.getLong(AT_SNAPSHOTS_OFFSET);
  }

  private static void readVersion3(ByteBuffer in, String image, HeaderDraft d)
      throws ImageFormatException {
    need(in, image, Header.V3_MIN_BYTES);
    d.incompatible = in.getLong(Header.AT_INCOMPATIBLE);
    d.compatible = in.getLong(AT_COMPATIBLE);
    d.autoclear = in.getLong(Header.AT_AUTOCLEAR);
    d.refcountOrder = in.getInt(AT_REFCOUNT_ORDER);
    long length = u32(in, AT_HEADER_LENGTH);
    if (length < Header.V3_MIN_BYTES || length > 1L << d.clusterBits || length % 8 != 0) {
      throw bad(
          image,
          AT_HEADER_LENGTH,
          "header_length",
          "%d; allowed are multiples of 8 from %d to the cluster size, %d"
              .formatted(length, Header.V3_MIN_BYTES, 1L << d.clusterBits));
    }
    d.headerLength = (int) length;
    need(in, image, d.headerLength);
    if (length > AT_COMPRESSION_TYPE) {
      d.compressionType = Byte.toUnsignedInt(in.get(AT_COMPRESSION_TYPE));
      int from = AT_COMPRESSION_TYPE + 1;
      d.additional = Bytes.take(in.slice(from, d.headerLength - from), d.headerLength - from);
    }
  }

  private static void checkBackingOffset(HeaderDraft d, String image) throws ImageFormatException {
    long offset = d.backingFileOffset;
    boolean inHeader = offset != 0 && offset < d.headerLength;
    if (offset < 0 || offset > 1L << d.clusterBits || inHeader) {
      throw bad(
          image,
          AT_BACKING_OFFSET,
          "backing_file_offset",
          "0x%x; allowed are 0 and 0x%x to the end of cluster 0, 0x%x"
              .formatted(offset, d.headerLength, 1L << d.clusterBits));
    }
  }

  private static void checkFeatures(ByteBuffer in, HeaderDraft d, String image)
      throws UnsupportedFeatureException {
    long unknown = d.incompatible & ~Header.INCOMPATIBLE_KNOWN;
    if (unknown == 0) {
      return;
    }
    long end = d.backingFileOffset != 0 ? d.backingFileOffset : 1L << d.clusterBits;
    List<FeatureName> names = HeaderCluster.scanFeatureNames(in, d.headerLength, end);
    List<String> texts = new ArrayList<>();
    for (int bit = 0; bit < 64; bit++) {
      if ((unknown >>> bit & 1) != 0) {
        texts.add(describe(bit, names));
      }
    }
    throw new UnsupportedFeatureException(
        image,
        Header.AT_INCOMPATIBLE,
        "incompatible_features",
        "unsupported: %s; known are bits 0 to 4".formatted(String.join(", ", texts)),
        "use a newer version, or convert the image with the software that made it");
  }

  private static String describe(int bit, List<FeatureName> names) {
    for (FeatureName name : names) {
      if (name.field() == FeatureName.INCOMPATIBLE && name.bit() == bit) {
        return "bit %d (%s)".formatted(bit, name.printable());
      }
    }
    return "bit %d".formatted(bit);
  }

  private static void checkCompression(HeaderDraft d, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    boolean flagged = (d.incompatible & Header.INCOMPATIBLE_COMPRESSION_TYPE) != 0;
    if (flagged != (d.compressionType != 0)) {
      throw bad(
          image,
          AT_COMPRESSION_TYPE,
          "compression_type",
          "%d; incompatible bit 3 is %s, and must be set if and only if the type is not 0"
              .formatted(d.compressionType, flagged ? "set" : "not set"));
    }
    if (d.compressionType > Header.COMPRESSION_ZSTD) {
      throw new UnsupportedFeatureException(
          image,
          AT_COMPRESSION_TYPE,
          "compression_type",
          "%d; known are 0 (deflate) and 1 (zstd)".formatted(d.compressionType));
    }
  }

  /** Judged last when an image is opened, and not at all when it is to be repaired. */
  static void checkRefcountTable(Header h, String image) throws ImageFormatException {
    if (h.refcountTableClusters() == 0 || h.refcountTableOffset() == 0) {
      throw new ImageFormatException(
          image,
          h.refcountTableClusters() == 0 ? AT_REFTABLE_CLUSTERS : Header.AT_REFTABLE,
          h.refcountTableClusters() == 0 ? "refcount_table_clusters" : "refcount_table_offset",
          "0; the image has no refcount table",
          "check and repair it");
    }
  }

  private static void checkTables(Header h, String image) throws ImageFormatException {
    long most = Geometry.MAX_REFTABLE_ENTRIES * Geometry.ENTRY_BYTES >>> h.clusterBits();
    if (h.refcountTableClusters() > most) {
      throw bad(
          image,
          AT_REFTABLE_CLUSTERS,
          "refcount_table_clusters",
          "%d; at most %d, which is 8 MiB".formatted(h.refcountTableClusters(), most));
    }
    tableOffset(
        image,
        h,
        Header.AT_REFTABLE,
        "refcount_table_offset",
        h.refcountTableOffset(),
        h.refcountTableClusters() << h.clusterBits());
    if (h.snapshotCount() > MAX_SNAPSHOTS) {
      throw bad(
          image,
          Header.AT_SNAPSHOTS,
          "nb_snapshots",
          "%d; at most %d".formatted(h.snapshotCount(), MAX_SNAPSHOTS));
    }
    long snapshotBytes = h.snapshotCount() * SnapshotEntry.FIXED_BYTES;
    tableOffset(
        image, h, AT_SNAPSHOTS_OFFSET, "snapshots_offset", h.snapshotsOffset(), snapshotBytes);
    notHeader(image, AT_SNAPSHOTS_OFFSET, "snapshots_offset", h.snapshotsOffset(), snapshotBytes);
    checkL1(h, image);
    checkBackingName(h, image);
    boolean raw = (h.autoclear() & Header.AUTOCLEAR_RAW_DATA_FILE) != 0;
    if (raw && !h.externalData()) {
      throw bad(
          image,
          Header.AT_AUTOCLEAR,
          "autoclear_features",
          "bit 1 (raw external data) is set, which needs incompatible bit 2 (external data file)");
    }
  }

  private static void checkL1(Header h, String image) throws ImageFormatException {
    if (h.l1Size() > Geometry.MAX_L1_ENTRIES) {
      throw bad(
          image,
          Header.AT_L1,
          "l1_size",
          "%d entries; at most %d, which is 32 MiB".formatted(h.l1Size(), Geometry.MAX_L1_ENTRIES));
    }
    if (h.size() < 0) {
      throw bad(
          image,
          Header.AT_SIZE,
          "size",
          "%s bytes; less than 2^63".formatted(Long.toUnsignedString(h.size())));
    }
    long needed = h.geometry().l1Entries(h.size());
    if (h.l1Size() < needed) {
      throw bad(
          image,
          Header.AT_L1,
          "l1_size",
          "%d entries; a disk of %d bytes needs %d".formatted(h.l1Size(), h.size(), needed));
    }
    long bytes = h.l1Size() * Geometry.ENTRY_BYTES;
    tableOffset(image, h, AT_L1_OFFSET, "l1_table_offset", h.l1TableOffset(), bytes);
    notHeader(image, AT_L1_OFFSET, "l1_table_offset", h.l1TableOffset(), bytes);
  }

  private static void checkBackingName(Header h, String image) throws ImageFormatException {
    if (h.backingFileOffset() == 0) {
      return;
    }
    long room = Math.min(MAX_BACKING_NAME, (1L << h.clusterBits()) - h.backingFileOffset());
    if (h.backingFileSize() > room) {
      throw bad(
          image,
          AT_BACKING_SIZE,
          "backing_file_size",
          "%d; the name has at most %d bytes and ends within cluster 0"
              .formatted(h.backingFileSize(), room));
    }
  }

  /** Passes for a cluster-aligned offset below 2^56 whose table ends below it too. */
  private static void tableOffset(
      String image, Header h, int at, String field, long offset, long bytes)
      throws ImageFormatException {
    boolean aligned = (offset & ((1L << h.clusterBits()) - 1)) == 0;
    if (offset < 0 || !aligned || offset > Geometry.MAX_HOST_OFFSET - bytes) {
      throw bad(
          image,
          at,
          field,
          "0x%x; a multiple of the cluster size, 0x%x, that ends at most at 2^56"
              .formatted(offset, 1L << h.clusterBits()));
    }
  }

  private static void notHeader(String image, int at, String field, long offset, long bytes)
      throws ImageFormatException {
    if (offset == 0 && bytes != 0) {
      throw bad(image, at, field, "0x0, which is the header's place, but the table is not empty");
    }
  }

  private static void need(ByteBuffer in, String image, int bytes) throws ImageFormatException {
    if (in.limit() < bytes) {
      throw bad(
          image,
          0,
          "header",
          "the file ends after %d bytes; the header has %d".formatted(in.limit(), bytes));
    }
  }

  private static ImageFormatException bad(String image, int at, String field, String problem) {
    return new ImageFormatException(image, at, field, problem);
  }

  private static long u32(ByteBuffer in, int at) {
    return Integer.toUnsignedLong(in.getInt(at));
  }
}
