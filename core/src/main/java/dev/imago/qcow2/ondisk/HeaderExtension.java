package dev.imago.qcow2.ondisk;

import java.nio.ByteBuffer;

/**
 * A header extension: a type and bytes, padded with zeroes to a multiple of 8 on disk.
 *
 * <p>Spec: qcow2 digest, section 4.
 *
 * @param type u32; which kind, one of the constants or one that nobody here knows
 * @param bytes the contents without padding
 */
public record HeaderExtension(int type, Bytes bytes) {
  /** Ends the list. */
  public static final int END = 0;

  /** The backing file's format, a plain string. */
  public static final int BACKING_FORMAT = 0xe2792aca;

  /** The data file's name, a plain string. */
  public static final int DATA_FILE = 0x44415441;

  /** Where the LUKS header is. */
  public static final int LUKS = 0x0537be77;

  /** Names of feature bits. */
  public static final int FEATURE_NAMES = 0x6803f857;

  /** Where the directory of dirty bitmaps is. */
  public static final int BITMAPS = 0x23852875;

  /** Bytes of type and length before the contents. */
  public static final int HEAD_BYTES = 8;

  /** An extension that holds a text. */
  public static HeaderExtension of(int type, String text) {
    return new HeaderExtension(type, Bytes.of(text));
  }

  /** An extension that holds all that remains in {@code contents}. */
  public static HeaderExtension of(int type, ByteBuffer contents) {
    return new HeaderExtension(type, Bytes.take(contents, contents.remaining()));
  }

  /** Bytes on disk, with head and padding. */
  public int length() {
    return HEAD_BYTES + padded(bytes.size());
  }

  /** Writes {@link #length()} bytes at {@code out}'s position and moves past them. */
  public void write(ByteBuffer out) {
    out.putInt(type).putInt(bytes.size());
    bytes.write(out);
    for (int i = bytes.size(); i < padded(bytes.size()); i++) {
      out.put((byte) 0);
    }
  }

  static int padded(int length) {
    return length + 7 & ~7;
  }
}
