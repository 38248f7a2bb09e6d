package dev.imago.crypto;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * A key slot of a LUKS1 header: 48 bytes, big endian.
 *
 * @param active whether it leads to the key
 * @param iterations of PBKDF2, unsigned
 * @param salt 32 bytes
 * @param materialSector where the split key is, in sectors from the header, unsigned
 * @param stripes parts that the key is split into, unsigned
 */
@SuppressWarnings("ArrayRecordComponent") // equality is by contents
public record LuksSlot(
    boolean active, long iterations, byte[] salt, long materialSector, long stripes) {
  /** Length on disk. */
  public static final int BYTES = 48;

  /** Length of salts, of the header's own too. */
  static final int SALT_BYTES = 32;

  static final int ACTIVE = 0x00ac71f3;
  static final int INACTIVE = 0x0000dead;

  static LuksSlot parse(ByteBuffer in, boolean active) {
    long iterations = Integer.toUnsignedLong(in.getInt());
    byte[] salt = new byte[SALT_BYTES];
    in.get(salt);
    return new LuksSlot(
        active,
        iterations,
        salt,
        Integer.toUnsignedLong(in.getInt()),
        Integer.toUnsignedLong(in.getInt()));
  }

  /** Writes 48 bytes at {@code out}'s position and moves past them. */
  void write(ByteBuffer out) {
    out.putInt(active ? ACTIVE : INACTIVE).putInt((int) iterations).put(salt);
    out.putInt((int) materialSector).putInt((int) stripes);
  }

  /** The same slot with other values, active or not. */
  LuksSlot with(boolean nowActive, long newIterations, byte[] newSalt) {
    return new LuksSlot(nowActive, newIterations, newSalt, materialSector, stripes);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof LuksSlot slot
        && active == slot.active
        && iterations == slot.iterations
        && Arrays.equals(salt, slot.salt)
        && materialSector == slot.materialSector
        && stripes == slot.stripes;
  }

  @Override
  public int hashCode() {
    return Long.hashCode(materialSector) * 31 + Arrays.hashCode(salt);
  }

  @Override
  public String toString() {
    return "LuksSlot[%s, %d iterations, sector %d]"
        .formatted(active ? "active" : "inactive", iterations, materialSector);
  }
}
