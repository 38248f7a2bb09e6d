package dev.imago;

import dev.imago.CopyPlan.Piece;
import dev.imago.image.Image;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Brings pieces of a copy into the target. Used by many threads. */
final class CopyWriter {
  /** Zeroes are looked for in units of this many bytes, or of less if the sparse size asks it. */
  private static final int UNIT = 4096;

  private final Image target;
  private final boolean targetIsZero;
  private final int unit;
  private final int shortest;

  /**
   * Takes note of what is known of the target.
   *
   * @param targetIsZero whether zeroes need not be written
   * @param sparseSize the shortest run of zeroes that is not written as data; 0 for none
   */
  CopyWriter(Image target, boolean targetIsZero, int sparseSize) {
    this.target = target;
    this.targetIsZero = targetIsZero;
    // Zeroes in a part of a cluster that holds something else cost more than data would.
    int least = targetIsZero ? 0 : target.clusterSize();
    this.unit = Math.max(Math.min(UNIT, Integer.lowestOneBit(sparseSize)), least);
    this.shortest = sparseSize == 0 ? 0 : Math.max(sparseSize, least);
  }

  /**
   * Copies one piece.
   *
   * @param buffer for data; at least as long as the piece
   * @throws ConvertException if the source could not be read or the target not written
   */
  void copy(Piece piece, ByteBuffer buffer) throws IOException {
    switch (piece.kind()) {
      case DATA -> data(piece, buffer);
      case ZERO -> zeroes(piece.targetOffset(), piece.length());
      case BACKING -> {}
    }
  }

  private void data(Piece piece, ByteBuffer buffer) throws IOException {
    int length = (int) piece.length();
    try {
      piece.source().read(buffer.clear().limit(length), piece.sourceOffset());
    } catch (IOException e) {
      throw new ConvertException(false, piece.targetOffset(), e);
    }
    long at = piece.targetOffset();
    if (shortest == 0) {
      write(buffer, 0, length, at);
      return;
    }
    ZeroScan.split(
        buffer,
        0,
        length,
        at,
        unit,
        shortest,
        (zero, from, to) -> {
          if (!zero) {
            write(buffer, from, to, at + from);
          } else if (!targetIsZero) {
            zeroes(at + from, to - from);
          }
        });
  }

  private void write(ByteBuffer buffer, int from, int to, long targetOffset)
      throws ConvertException {
    try {
      target.write(buffer.slice(from, to - from), targetOffset);
    } catch (IOException e) {
      throw new ConvertException(true, targetOffset, e);
    }
  }

  private void zeroes(long targetOffset, long length) throws ConvertException {
    try {
      target.writeZeroes(targetOffset, length, true, false);
    } catch (IOException e) {
      throw new ConvertException(true, targetOffset, e);
    }
  }
}
