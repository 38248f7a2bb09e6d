package dev.imago.qcow2.ondisk;

/** A {@link Header} in the making: its fields by name, so that nobody counts nineteen arguments. */
public final class HeaderDraft {
  /** Sets {@link Header#version()}. */
  public int version = 3;

  /** Sets {@link Header#backingFileOffset()}. */
  public long backingFileOffset;

  /** Sets {@link Header#backingFileSize()}. */
  public long backingFileSize;

  /** Sets {@link Header#clusterBits()}. */
  public int clusterBits = 16;

  /** Sets {@link Header#size()}. */
  public long size;

  /** Sets {@link Header#cryptMethod()}. */
  public int cryptMethod;

  /** Sets {@link Header#l1Size()}. */
  public long l1Size;

  /** Sets {@link Header#l1TableOffset()}. */
  public long l1TableOffset;

  /** Sets {@link Header#refcountTableOffset()}. */
  public long refcountTableOffset;

  /** Sets {@link Header#refcountTableClusters()}. */
  public long refcountTableClusters;

  /** Sets {@link Header#snapshotCount()}. */
  public long snapshotCount;

  /** Sets {@link Header#snapshotsOffset()}. */
  public long snapshotsOffset;

  /** Sets {@link Header#incompatible()}. */
  public long incompatible;

  /** Sets {@link Header#compatible()}. */
  public long compatible;

  /** Sets {@link Header#autoclear()}. */
  public long autoclear;

  /** Sets {@link Header#refcountOrder()}. */
  public int refcountOrder = 4;

  /** Sets {@link Header#headerLength()}. */
  public int headerLength = Header.V3_BYTES;

  /** Sets {@link Header#compressionType()}. */
  public int compressionType;

  /** Sets {@link Header#additional()}. */
  public Bytes additional = Bytes.of(new byte[Header.V3_BYTES - Header.V3_MIN_BYTES - 1]);

  /** An empty version 3 header with clusters of 64 KiB and counts of 16 bits. */
  public HeaderDraft() {}

  /** A header's values. */
  public HeaderDraft(Header header) {
    version = header.version();
    backingFileOffset = header.backingFileOffset();
    backingFileSize = header.backingFileSize();
    clusterBits = header.clusterBits();
    size = header.size();
    cryptMethod = header.cryptMethod();
    l1Size = header.l1Size();
    l1TableOffset = header.l1TableOffset();
    refcountTableOffset = header.refcountTableOffset();
    refcountTableClusters = header.refcountTableClusters();
    snapshotCount = header.snapshotCount();
    snapshotsOffset = header.snapshotsOffset();
    incompatible = header.incompatible();
    compatible = header.compatible();
    autoclear = header.autoclear();
    refcountOrder = header.refcountOrder();
    headerLength = header.headerLength();
    compressionType = header.compressionType();
    additional = header.additional();
  }

  /** Makes a version 2 header one of version 3, without features; leaves others as they are. */
  public void toVersion3() {
    if (version < 3) {
      version = 3;
      headerLength = Header.V3_BYTES;
      additional = Bytes.of(new byte[Header.V3_BYTES - Header.V3_MIN_BYTES - 1]);
    }
  }

  /** Makes it a version 2 header, which has no room for the later fields. */
  public void toVersion2() {
    version = 2;
    incompatible = 0;
    compatible = 0;
    autoclear = 0;
    refcountOrder = 4;
    compressionType = 0;
    headerLength = Header.V2_BYTES;
    additional = Bytes.NONE;
  }

  /** The header. Nothing is judged. */
  public Header header() {
    return new Header(
        version,
        backingFileOffset,
        backingFileSize,
        clusterBits,
        size,
        cryptMethod,
        l1Size,
        l1TableOffset,
        refcountTableOffset,
        refcountTableClusters,
        snapshotCount,
        snapshotsOffset,
        incompatible,
        compatible,
        autoclear,
        refcountOrder,
        headerLength,
        compressionType,
        additional);
  }
}
