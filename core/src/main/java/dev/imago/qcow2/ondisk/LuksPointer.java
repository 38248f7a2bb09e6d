package dev.imago.qcow2.ondisk;

import java.nio.ByteBuffer;

/**
 * Where the LUKS header and its key slots are: the contents of extension 0x0537be77.
 *
 * @param offset host offset, cluster aligned
 * @param length bytes in use from there
 */
public record LuksPointer(long offset, long length) {
  /** Length on disk, in bytes. */
  static final int BYTES = 16;

  /** As it stands in the header. */
  public HeaderExtension extension() {
    ByteBuffer bytes = ByteBuffer.allocate(BYTES).putLong(offset).putLong(length);
    return new HeaderExtension(HeaderExtension.LUKS, Bytes.of(bytes.array()));
  }
}
