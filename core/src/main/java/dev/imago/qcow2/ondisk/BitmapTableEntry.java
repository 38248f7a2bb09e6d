package dev.imago.qcow2.ondisk;

/**
 * An entry of a bitmap table: what one cluster of a bitmap's bits is.
 *
 * <p>Spec: qcow2 digest, section 8.
 */
public final class BitmapTableEntry {
  /** A cluster of zero bits that takes no space. */
  public static final long ALL_ZEROES = 0;

  /** A cluster of one bits that takes no space. */
  public static final long ALL_ONES = 1;

  /** Bits that must be 0. */
  private static final long RESERVED = 0xff00_0000_0000_01feL;

  private BitmapTableEntry() {}

  /** Whether an entry breaks the specification: reserved bits, an offset that is not aligned. */
  public static boolean corrupt(long entry, Geometry geometry) {
    long offset = hostOffset(entry);
    boolean bad = offset != 0 && ((entry & ALL_ONES) != 0 || geometry.inCluster(offset) != 0);
    return bad || (entry & RESERVED) != 0;
  }

  /** Where the cluster lies; 0 if it takes no space. */
  public static long hostOffset(long entry) {
    return entry & Geometry.OFFSET_MASK;
  }
}
