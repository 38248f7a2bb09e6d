package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import java.nio.ByteBuffer;

/**
 * Which L1 and L2 entries can be set right without losing anything: bits that no reader looks at
 * are cleared, and a cluster that reads as zero loses a place that it cannot have.
 *
 * <p>Spec: qcow2 digest, sections 6.1, 6.2 and 14.
 */
final class EntryRules {
  /** So few wrong entries say nothing about their table. */
  private static final int FEW = 8;

  private EntryRules() {}

  /** An L1 entry as it should be: flags without a table say nothing. */
  static long repairedL1(long word) {
    return (word & Geometry.OFFSET_MASK) == 0 ? 0 : word & ~Geometry.L1_RESERVED;
  }

  /**
   * The first word of an L2 entry as it should be; what cannot be known stays as it is.
   *
   * @param bitmap the second word of an extended entry, else 0
   */
  static long repairedL2(long word, long bitmap, Geometry g) {
    if ((word & Geometry.COMPRESSED) != 0) {
      return word & ~Geometry.COPIED;
    }
    long right = word & ~Geometry.L2_RESERVED;
    boolean zero = !g.extendedL2() && (right & Geometry.READS_AS_ZERO) != 0;
    if (holdsNoData(word, bitmap, g) && g.inCluster(right & Geometry.OFFSET_MASK) != 0) {
      // Version 2 cannot say that it is zero, but there is no data either.
      right = zero && g.version() >= 3 ? Geometry.READS_AS_ZERO : 0;
    } else if (zero && g.version() < 3) {
      right &= ~Geometry.READS_AS_ZERO;
    }
    return right;
  }

  /** Whether nothing is read from where an entry, which is not compressed, leads to. */
  static boolean holdsNoData(long word, long bitmap, Geometry g) {
    return g.extendedL2() ? (int) bitmap == 0 : (word & Geometry.READS_AS_ZERO) != 0;
  }

  /**
   * Whether a cluster can be an L2 table. One in which many entries break the specification is
   * something else, perhaps a guest's data, and must not be changed.
   */
  static boolean looksLikeL2Table(ByteBuffer table, Geometry g) {
    int width = g.l2EntryBytes();
    int used = 0;
    int wrong = 0;
    for (int at = 0; at < table.limit(); at += width) {
      long word = table.getLong(at);
      if (word == 0) {
        continue;
      }
      used++;
      long bitmap = g.extendedL2() ? table.getLong(at + Long.BYTES) : 0;
      boolean compressed = (word & Geometry.COMPRESSED) != 0;
      boolean unaligned = !compressed && g.inCluster(word & Geometry.OFFSET_MASK) != 0;
      if (unaligned || repairedL2(word, bitmap, g) != word) {
        wrong++;
      }
    }
    return wrong <= FEW || wrong <= used / 4;
  }

  /**
   * Whether no entry of a table would lead to where nothing can be, once all are as they should be.
   *
   * @param clusters of the file
   */
  static boolean canBeMadeWhole(ByteBuffer table, Geometry g, long clusters) {
    for (int at = 0; at < table.limit(); at += g.l2EntryBytes()) {
      long bitmap = g.extendedL2() ? table.getLong(at + Long.BYTES) : 0;
      long word = repairedL2(table.getLong(at), bitmap, g);
      long hostOffset = word & Geometry.OFFSET_MASK;
      long last = hostOffset;
      if ((word & Geometry.COMPRESSED) != 0) {
        last = g.compressedOffset(word) + g.compressedLength(word) - 1;
      } else if (g.inCluster(hostOffset) != 0) {
        return false;
      }
      if (!g.externalData() && g.clusterIndex(last) >= clusters) {
        return false;
      }
    }
    return true;
  }
}
