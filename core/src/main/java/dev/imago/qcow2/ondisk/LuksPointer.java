package dev.imago.qcow2.ondisk;

/**
 * Where the LUKS header and its key slots are: the contents of extension 0x0537be77.
 *
 * @param offset host offset, cluster aligned
 * @param length bytes in use from there
 */
public record LuksPointer(long offset, long length) {
  /** Length on disk, in bytes. */
  static final int BYTES = 16;
}
