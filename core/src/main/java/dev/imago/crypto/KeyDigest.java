package dev.imago.crypto;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.Arrays;

/**
 * How a LUKS1 header recognises its key: 56 bytes, big endian.
 *
 * @param digest of the key, 20 bytes
 * @param salt 32 bytes
 * @param iterations of PBKDF2, unsigned
 */
@SuppressWarnings("ArrayRecordComponent") // equality is by contents
public record KeyDigest(byte[] digest, byte[] salt, long iterations) {
  /** Length of the digest, whatever hash it is made with. */
  private static final int DIGEST_BYTES = 20;

  static KeyDigest parse(ByteBuffer in) {
    byte[] digest = new byte[DIGEST_BYTES];
    in.get(digest);
    byte[] salt = new byte[LuksSlot.SALT_BYTES];
    in.get(salt);
    return new KeyDigest(digest, salt, Integer.toUnsignedLong(in.getInt()));
  }

  /** Makes the digest of a key. */
  static KeyDigest of(Hash hash, byte[] key, byte[] salt, long iterations) {
    return new KeyDigest(
        Pbkdf2.derive(hash, key, salt, iterations, DIGEST_BYTES), salt, iterations);
  }

  /** Whether this is that key's digest. */
  boolean fits(Hash hash, byte[] key) {
    return MessageDigest.isEqual(digest, of(hash, key, salt, iterations).digest);
  }

  void write(ByteBuffer out) {
    out.put(digest).put(salt).putInt((int) iterations);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof KeyDigest that
        && iterations == that.iterations
        && Arrays.equals(salt, that.salt)
        && Arrays.equals(digest, that.digest);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(digest);
  }

  @Override
  public String toString() {
    return "KeyDigest[%d iterations]".formatted(iterations);
  }
}
