package dev.imago.qcow2.ondisk;

/**
 * The sizes that follow from a qcow2 header. Every shift and every mask of the format lives here.
 *
 * <p>Spec: qcow2 digest, sections 1, 5, 6.
 *
 * @param clusterBits 9 to 21
 * @param refcountOrder 0 to 6; a reference count has {@code 1 << refcountOrder} bits
 * @param version 2 or 3
 * @param externalData whether guest data is kept in a data file
 * @param extendedL2 whether L2 entries have 16 bytes and clusters 32 subclusters; without, a
 *     cluster is its only subcluster
 */
public record Geometry(
    int clusterBits, int refcountOrder, int version, boolean externalData, boolean extendedL2) {

  /** With standard L2 entries. */
  public Geometry(int clusterBits, int refcountOrder, int version, boolean externalData) {
    this(clusterBits, refcountOrder, version, externalData, false);
  }

  /** Bytes of an L1 or refcount table entry. */
  public static final int ENTRY_BYTES = 8;

  /** Smallest clusters that may have subclusters: 16 KiB. */
  public static final int MIN_EXTENDED_L2_BITS = 14;

  private static final int SUBCLUSTER_BITS = 5;

  /** Words of counts that are all 1, by refcount order. */
  private static final long[] ONES = {
    -1L,
    0x5555_5555_5555_5555L,
    0x1111_1111_1111_1111L,
    0x0101_0101_0101_0101L,
    0x0001_0001_0001_0001L,
    0x0000_0001_0000_0001L,
    1
  };

  /** Metadata is cached in slices of this many bytes, or of a cluster if that is smaller. */
  private static final int SLICE_BITS = 12;

  /** Bits 9 to 55 of table entries: a host offset. */
  public static final long OFFSET_MASK = 0x00ff_ffff_ffff_fe00L;

  /** Bit 63 of L1 and L2 entries: the target's refcount is exactly 1. */
  public static final long COPIED = 1L << 63;

  /** Bit 62 of L2 entries. */
  public static final long COMPRESSED = 1L << 62;

  /** Bit 0 of L2 entries since version 3. */
  public static final long READS_AS_ZERO = 1;

  /** Reserved bits of an L1 entry. */
  public static final long L1_RESERVED = 0x7f00_0000_0000_01ffL;

  /** Reserved bits of a standard L2 entry; bit 0 is judged apart. */
  public static final long L2_RESERVED = 0x3f00_0000_0000_01feL;

  /** Host offsets end here. */
  public static final long MAX_HOST_OFFSET = 1L << 56;

  /** Entries of the longest L1 table. */
  public static final long MAX_L1_ENTRIES = 4 << 20;

  /** Entries of the longest refcount table. */
  public static final long MAX_REFTABLE_ENTRIES = 1 << 20;

  /** Bytes of a cluster. */
  public int clusterSize() {
    return 1 << clusterBits;
  }

  /** The part of an offset within its cluster. */
  public long inCluster(long offset) {
    return offset & (clusterSize() - 1L);
  }

  /** The start of the cluster that holds an offset. */
  public long clusterStart(long offset) {
    return offset & -(long) clusterSize();
  }

  /** The index of the cluster that holds an offset. */
  public long clusterIndex(long offset) {
    return offset >>> clusterBits;
  }

  /** The offset of a cluster. */
  public long clusterOffset(long index) {
    return index << clusterBits;
  }

  /** The number of clusters that hold this many bytes. */
  public long clusters(long bytes) {
    return (bytes >>> clusterBits) + (inCluster(bytes) == 0 ? 0 : 1);
  }

  /** The number of equal parts of a cluster that are mapped on their own. */
  public int subclusters() {
    return extendedL2 ? 1 << SUBCLUSTER_BITS : 1;
  }

  /** Bytes of a subcluster. */
  public int subclusterSize() {
    return clusterSize() / subclusters();
  }

  /** Which subcluster of its cluster holds an offset. */
  public int subcluster(long offset) {
    return (int) inCluster(offset) / subclusterSize();
  }

  /** The start of the subcluster that holds an offset. */
  public long subclusterStart(long offset) {
    return offset & -(long) subclusterSize();
  }

  /** The offset itself if a subcluster starts there, else the end of the one that holds it. */
  public long subclusterEnd(long offset) {
    return subclusterStart(offset + subclusterSize() - 1);
  }

  /** Bytes of an L2 entry. */
  public int l2EntryBytes() {
    return ENTRY_BYTES * l2EntryWords();
  }

  /** 8-byte words of an L2 entry. */
  public int l2EntryWords() {
    return extendedL2 ? 2 : 1;
  }

  private int l2Bits() {
    return clusterBits - (extendedL2 ? 4 : 3);
  }

  /** Entries of an L2 table: a table is one cluster. */
  public int l2Entries() {
    return 1 << l2Bits();
  }

  /** Guest bytes that one L2 table maps. */
  public long l2Coverage() {
    return (long) l2Entries() << clusterBits;
  }

  /** Which L1 entry maps a guest offset. */
  public long l1Index(long guestOffset) {
    return guestOffset >>> clusterBits + l2Bits();
  }

  /** Which entry of its L2 table maps a guest offset. */
  public int l2Index(long guestOffset) {
    return (int) (guestOffset >>> clusterBits) & (l2Entries() - 1);
  }

  /** L1 entries that a disk of this size needs. */
  public long l1Entries(long size) {
    return size == 0 ? 0 : l1Index(size - 1) + 1;
  }

  /** Bytes of a metadata slice. */
  public int sliceBytes() {
    return 1 << Math.min(SLICE_BITS, clusterBits);
  }

  /** 8-byte words of a metadata slice. */
  public int sliceWords() {
    return sliceBytes() / ENTRY_BYTES;
  }

  /** Slices of an L2 table or refcount block. */
  public int slicesPerCluster() {
    return clusterSize() / sliceBytes();
  }

  /** L2 entries of a metadata slice. */
  public int sliceEntries() {
    return sliceWords() / l2EntryWords();
  }

  /** Guest bytes that one slice of an L2 table maps. */
  public long sliceCoverage() {
    return (long) sliceEntries() << clusterBits;
  }

  /** Which slice of its L2 table holds the entry of a guest offset. */
  public int l2Slice(long guestOffset) {
    return l2Index(guestOffset) / sliceEntries();
  }

  /** Which entry of its slice maps a guest offset. */
  public int entryInSlice(long guestOffset) {
    return l2Index(guestOffset) & (sliceEntries() - 1);
  }

  /** Bits of a reference count. */
  public int refcountBits() {
    return 1 << refcountOrder;
  }

  /** The largest reference count, unsigned. */
  public long maxRefcount() {
    return -1L >>> (64 - refcountBits());
  }

  /** Reference counts in one block. */
  public long refcountsPerBlock() {
    return 1L << (clusterBits + 3 - refcountOrder);
  }

  /** Which refcount table entry leads to a host cluster's count. */
  public long reftableIndex(long hostCluster) {
    return hostCluster >>> (clusterBits + 3 - refcountOrder);
  }

  /** The first host cluster that a refcount table entry speaks of. */
  public long firstClusterOfBlock(long reftableIndex) {
    return reftableIndex << (clusterBits + 3 - refcountOrder);
  }

  /** Which slice of its block holds a host cluster's count. */
  public int refcountSlice(long hostCluster) {
    return (int) ((hostCluster & (refcountsPerBlock() - 1)) / refcountsPerSlice());
  }

  /** Reference counts in one slice. */
  public int refcountsPerSlice() {
    return sliceBytes() * 8 >>> refcountOrder;
  }

  /** Which word of its slice holds a host cluster's count. */
  public int refcountWord(long hostCluster) {
    return (int) (hostCluster & (refcountsPerSlice() - 1)) >>> (6 - refcountOrder);
  }

  /**
   * How far a count must be shifted right in its big-endian word. From 8 bits on, counts are big
   * endian: the first is the highest. Below, the first of a byte is that byte's lowest.
   */
  public int refcountShift(long hostCluster) {
    int inWord = (int) hostCluster & (64 / refcountBits() - 1);
    if (refcountOrder >= 3) {
      return 64 - refcountBits() * (inWord + 1);
    }
    int bit = inWord << refcountOrder;
    return 56 - (bit & ~7) + (bit & 7);
  }

  /** Reference counts in one word. */
  public int refcountsPerWord() {
    return 64 >>> refcountOrder;
  }

  /** Whether a big-endian word of reference counts has one that is 0. */
  public boolean hasZeroRefcount(long word) {
    // Taking 1 from each count turns a highest bit on that was off only if some count is 0.
    long ones = ONES[refcountOrder];
    return (word - ones & ~word & ones << refcountBits() - 1) != 0;
  }

  /** The lowest bit of a compressed descriptor's sector count. */
  public int compressedSectorShift() {
    return 62 - (clusterBits - 8);
  }

  /** Where a compressed cluster's bytes start; not aligned. */
  public long compressedOffset(long entry) {
    return entry & ((1L << compressedSectorShift()) - 1);
  }

  /** How many bytes from there may belong to it: an upper bound that ends at a sector's end. */
  public int compressedLength(long entry) {
    long sectors = ((entry & ~COPIED & ~COMPRESSED) >>> compressedSectorShift()) + 1;
    return (int) (sectors * 512 - (compressedOffset(entry) & 511));
  }

  /** Where compressed bytes must end, as far as a descriptor can say. */
  public long compressedLimit() {
    return Math.min(MAX_HOST_OFFSET, 1L << compressedSectorShift());
  }

  /**
   * The descriptor of compressed bytes.
   *
   * @param hostOffset not aligned; they end at or before {@link #compressedLimit()}
   * @param length at least 1, less than a cluster
   */
  public long compressedEntry(long hostOffset, int length) {
    long moreSectors = (hostOffset + length - 1 >>> 9) - (hostOffset >>> 9);
    return COMPRESSED | moreSectors << compressedSectorShift() | hostOffset;
  }
}
