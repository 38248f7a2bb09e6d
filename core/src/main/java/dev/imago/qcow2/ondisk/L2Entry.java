package dev.imago.qcow2.ondisk;

/**
 * What the 64-bit word of an L2 entry says. With extended L2 entries this judges the first of the
 * two words, and the bitmap has the last word.
 *
 * <p>Spec: qcow2 digest, section 6.
 */
public final class L2Entry {
  private L2Entry() {}

  /** What an entry is. */
  public enum Kind {
    /** Nothing here: the backing file shows, or zeroes. */
    UNALLOCATED,
    /** Reads as zero and keeps no host cluster. */
    ZERO,
    /** Reads as zero, and keeps a host cluster for later. */
    ZERO_ALLOCATED,
    /** Kept in a host cluster. */
    DATA,
    /** Kept compressed. */
    COMPRESSED,
    /** Breaks the specification, so that nothing can be read or written through it. */
    INVALID
  }

  /**
   * What {@code word} is. Compressed comes first: such a descriptor uses all other bits for itself.
   * Reserved bits are not judged here, as no reader needs them.
   */
  public static Kind kind(long word, Geometry g) {
    if ((word & Geometry.COMPRESSED) != 0) {
      boolean beyond = g.compressedOffset(word) >= Geometry.MAX_HOST_OFFSET;
      return g.externalData() || beyond ? Kind.INVALID : Kind.COMPRESSED;
    }
    long hostOffset = word & Geometry.OFFSET_MASK;
    if (g.inCluster(hostOffset) != 0) {
      return Kind.INVALID;
    }
    boolean allocated = hostOffset != 0 || (g.externalData() && (word & Geometry.COPIED) != 0);
    if ((word & Geometry.READS_AS_ZERO) != 0) {
      if (g.version() < 3) {
        return Kind.INVALID;
      }
      return allocated ? Kind.ZERO_ALLOCATED : Kind.ZERO;
    }
    return allocated ? Kind.DATA : Kind.UNALLOCATED;
  }

  /** Why an entry is {@link Kind#INVALID}, and what would be allowed. */
  public static String problem(long word, Geometry g) {
    if ((word & Geometry.COMPRESSED) != 0) {
      return g.externalData()
          ? "0x%x is compressed; with a data file only plain clusters are allowed".formatted(word)
          : "0x%x is compressed data behind host offset 2^56".formatted(word);
    }
    long hostOffset = word & Geometry.OFFSET_MASK;
    if (g.inCluster(hostOffset) != 0) {
      return "data cluster offset 0x%x is not a multiple of the cluster size".formatted(hostOffset);
    }
    return "0x%x reads as zero; only version 3 knows that".formatted(word);
  }
}
