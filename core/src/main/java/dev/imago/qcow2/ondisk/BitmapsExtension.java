package dev.imago.qcow2.ondisk;

import java.nio.ByteBuffer;

/**
 * Where the directory of dirty bitmaps is: the contents of extension 0x23852875.
 *
 * @param count entries of the directory, 1 to 65535
 * @param directorySize bytes of the directory
 * @param directoryOffset host offset, cluster aligned
 */
public record BitmapsExtension(long count, long directorySize, long directoryOffset) {
  /** Length on disk, in bytes. */
  public static final int BYTES = 24;

  /** Most bitmaps of an image. */
  public static final int MAX_BITMAPS = 65535;

  /** Longest directory, in bytes. */
  public static final long MAX_DIRECTORY_BYTES = MAX_BITMAPS * 1024L;

  /** The extension's contents. */
  public ByteBuffer write() {
    return ByteBuffer.allocate(BYTES)
        .putInt((int) count)
        .putInt(0)
        .putLong(directorySize)
        .putLong(directoryOffset)
        .flip();
  }
}
