package dev.imago.qcow2.ondisk;

/**
 * An L2 entry: what maps one guest cluster. With extended L2 entries each of the cluster's 32
 * subclusters has a kind of its own; without, the cluster counts as its only subcluster, number 0.
 *
 * <p>Spec: qcow2 digest, section 6.
 *
 * @param descriptor the first word: host offset and flags
 * @param bitmap the second word of an extended entry: which subclusters are allocated (low half)
 *     and which read as zero (high half); 0 in a standard entry
 */
public record L2Entry(long descriptor, long bitmap) {

  /** Nothing is there. */
  public static final L2Entry NOTHING = new L2Entry(0, 0);

  private static final long ALLOCATED = 0xffff_ffffL;
  private static final long ALL_ZERO = ALLOCATED << 32;

  /** What a subcluster is. */
  public enum Kind {
    /** Nothing here: the backing file shows, or zeroes. */
    UNALLOCATED,
    /** Reads as zero and keeps no host cluster. */
    ZERO,
    /** Reads as zero, and keeps a host cluster for later. */
    ZERO_ALLOCATED,
    /** Kept in a host cluster. */
    DATA,
    /** Kept compressed, as all of its cluster. */
    COMPRESSED,
    /** The entry breaks the specification: nothing can be read or written through it. */
    INVALID
  }

  /** An entry that makes a whole cluster zero and keeps nothing; in version 2, nothing at all. */
  public static L2Entry zero(Geometry g) {
    if (g.extendedL2()) {
      return new L2Entry(0, ALL_ZERO);
    }
    return g.version() >= 3 ? new L2Entry(Geometry.READS_AS_ZERO, 0) : NOTHING;
  }

  /**
   * What a subcluster is. Compressed comes first: such a descriptor uses all other bits for itself.
   * Reserved bits are not judged here, as no reader needs them.
   */
  public Kind kind(int subcluster, Geometry g) {
    if (compressed()) {
      boolean beyond = g.compressedOffset(descriptor) >= Geometry.MAX_HOST_OFFSET;
      return g.externalData() || beyond || bitmap != 0 ? Kind.INVALID : Kind.COMPRESSED;
    }
    if (g.inCluster(hostOffset()) != 0) {
      return Kind.INVALID;
    }
    boolean allocated = hasCluster(g);
    if (g.extendedL2()) {
      return subclusterKind(subcluster, allocated);
    }
    if ((descriptor & Geometry.READS_AS_ZERO) != 0) {
      if (g.version() < 3) {
        return Kind.INVALID;
      }
      return allocated ? Kind.ZERO_ALLOCATED : Kind.ZERO;
    }
    return allocated ? Kind.DATA : Kind.UNALLOCATED;
  }

  private Kind subclusterKind(int subcluster, boolean allocated) {
    if (contradicts(allocated)) {
      return Kind.INVALID;
    }
    if ((bitmap >>> 32 + subcluster & 1) != 0) {
      return allocated ? Kind.ZERO_ALLOCATED : Kind.ZERO;
    }
    return (bitmap >>> subcluster & 1) != 0 ? Kind.DATA : Kind.UNALLOCATED;
  }

  /** Whether a subcluster is both data and zero, or data without a host cluster. */
  private boolean contradicts(boolean allocated) {
    return (bitmap & bitmap >>> 32) != 0 || (!allocated && (bitmap & ALLOCATED) != 0);
  }

  /** How many subclusters from this one on, within the cluster, are of its kind. */
  public int run(int subcluster, Geometry g) {
    int most = g.subclusters() - subcluster;
    if (most == 1 || compressed()) {
      return most;
    }
    long data = bitmap >>> subcluster & ALLOCATED >>> subcluster;
    long zero = bitmap >>> 32 + subcluster;
    long others = (data & 1) != 0 ? ~data : (zero & 1) != 0 ? ~zero : data | zero;
    return Math.min(most, Long.numberOfTrailingZeros(others));
  }

  /** Whether the cluster is kept compressed. */
  public boolean compressed() {
    return (descriptor & Geometry.COMPRESSED) != 0;
  }

  /** Where the host cluster is, if there is one; not for compressed clusters. */
  public long hostOffset() {
    return descriptor & Geometry.OFFSET_MASK;
  }

  /** Whether there is a host cluster for this guest cluster alone, be there data in it or not. */
  public boolean hasCluster(Geometry g) {
    return !compressed()
        && (hostOffset() != 0 || (g.externalData() && (descriptor & Geometry.COPIED) != 0));
  }

  /** Whether there is a host cluster to which nothing else refers. */
  public boolean ownsCluster(Geometry g) {
    return descriptor < 0 && hasCluster(g);
  }

  /** Whether a subcluster's bytes may be overwritten where they are. */
  public boolean inPlace(int subcluster, Geometry g) {
    return descriptor < 0 && kind(subcluster, g) == Kind.DATA;
  }

  /**
   * Whether the cluster has the host space that it would get by preallocation: extended entries
   * need not say that there is data in it.
   */
  public boolean preallocated(Geometry g) {
    return g.extendedL2() ? ownsCluster(g) : inPlace(0, g);
  }

  /** Whether nothing of the cluster is mapped, nor any place kept for it. */
  public boolean unmapped(Geometry g) {
    return bitmap == 0 && kind(0, g) == Kind.UNALLOCATED && !hasCluster(g);
  }

  /** Whether the entry itself says that the whole cluster is zero. */
  public boolean allZero(Geometry g) {
    if (g.extendedL2()) {
      return bitmap == ALL_ZERO && !compressed();
    }
    Kind kind = kind(0, g);
    return kind == Kind.ZERO || kind == Kind.ZERO_ALLOCATED;
  }

  /** The first subcluster from this one on that is data; how many there are if none is. */
  public int nextData(int subcluster, Geometry g) {
    if (!g.extendedL2()) {
      return kind(0, g) == Kind.DATA ? 0 : 1;
    }
    long data = (bitmap & ALLOCATED) >>> subcluster;
    return Math.min(g.subclusters(), subcluster + Long.numberOfTrailingZeros(data));
  }

  /**
   * From which subcluster on the cluster must be filled when it gets another place and is
   * overwritten from this subcluster on: what it shows now must not be lost.
   */
  public int fillFrom(int subcluster) {
    return compressed() ? 0 : Math.min(subcluster, Long.numberOfTrailingZeros(bitmap & ALLOCATED));
  }

  /** As {@link #fillFrom}: up to which subcluster, if it is overwritten up to this one. */
  public int fillTo(int subcluster, Geometry g) {
    return compressed()
        ? g.subclusters()
        : Math.max(subcluster, 64 - Long.numberOfLeadingZeros(bitmap & ALLOCATED));
  }

  /**
   * The entry after these subclusters, and all that had to be filled, have been written to a host
   * cluster that nothing else refers to.
   */
  public L2Entry withData(long hostOffset, int from, int to, Geometry g) {
    L2Entry moved = withCluster(hostOffset);
    if (!g.extendedL2()) {
      return moved;
    }
    long written = compressed() ? ALLOCATED : mask(from, to);
    return new L2Entry(moved.descriptor, (bitmap | written) & ~(written << 32));
  }

  /**
   * The entry with a host cluster that nothing else refers to. Extended entries go on saying what
   * they said of each subcluster; a standard entry becomes data.
   */
  public L2Entry withCluster(long hostOffset) {
    return new L2Entry(hostOffset | Geometry.COPIED, bitmap);
  }

  /** The entry with these subclusters made zero; it keeps its host cluster. Not if compressed. */
  public L2Entry withZero(int from, int to, Geometry g) {
    if (!g.extendedL2()) {
      return new L2Entry(descriptor | Geometry.READS_AS_ZERO, 0);
    }
    long zero = mask(from, to);
    return new L2Entry(descriptor, (bitmap | zero << 32) & ~zero);
  }

  private static long mask(int from, int to) {
    return (1L << to) - (1L << from);
  }

  /** Why an entry is {@link Kind#INVALID}, and what would be allowed. */
  public String problem(Geometry g) {
    if (compressed()) {
      if (g.externalData()) {
        return "0x%x is compressed; with a data file only plain clusters are allowed"
            .formatted(descriptor);
      }
      return bitmap != 0
          ? "0x%x is compressed, so that its subcluster bitmap must be 0, not 0x%x"
              .formatted(descriptor, bitmap)
          : "0x%x is compressed data behind host offset 2^56".formatted(descriptor);
    }
    if (g.inCluster(hostOffset()) != 0) {
      return "data cluster offset 0x%x is not a multiple of the cluster size"
          .formatted(hostOffset());
    }
    if (g.extendedL2()) {
      return "subcluster bitmap 0x%016x of 0x%x; a subcluster is data or zero, and data needs a"
              .formatted(bitmap, descriptor)
          + " host cluster";
    }
    return "0x%x reads as zero; only version 3 knows that".formatted(descriptor);
  }
}
