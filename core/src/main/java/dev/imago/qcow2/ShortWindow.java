package dev.imago.qcow2;

import java.nio.ByteBuffer;
import java.util.zip.Deflater;

/**
 * Deflate whose matches lie at most 4 KiB back, which {@link Deflater} has no option for: pieces
 * that are compressed one by one, each with the end of the one before as its dictionary. The window
 * begins anew with each piece, and piece and dictionary together are no longer than 4 KiB.
 *
 * <p>Of the ways to cut 4 KiB this one was measured to give the shortest clusters.
 */
final class ShortWindow {
  private static final int PIECE = 3072;
  private static final int DICTIONARY = 1024;

  private ShortWindow() {}

  /**
   * Encodes a cluster.
   *
   * @param deflater for raw deflate, new or reset
   * @return false if the encoded bytes do not fit
   */
  static boolean encode(Deflater deflater, ByteBuffer cluster, ByteBuffer encoded) {
    ByteBuffer plain = cluster.slice();
    int length = plain.limit();
    for (int from = 0; from < length; from += PIECE) {
      int end = Math.min(from + PIECE, length);
      if (from > 0) {
        deflater.setDictionary(plain.slice(from - DICTIONARY, DICTIONARY));
      }
      deflater.setInput(plain.slice(from, end - from));
      if (end == length) {
        deflater.finish();
      }
      // A full flush ends the piece on a byte's border and forgets the window.
      do {
        if (!encoded.hasRemaining()) {
          return false;
        }
        deflater.deflate(encoded, end == length ? Deflater.NO_FLUSH : Deflater.FULL_FLUSH);
      } while (end == length ? !deflater.finished() : !encoded.hasRemaining());
    }
    return true;
  }
}
