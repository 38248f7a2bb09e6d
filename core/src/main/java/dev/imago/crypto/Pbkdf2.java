package dev.imago.crypto;

import java.security.DigestException;
import java.security.MessageDigest;
import java.util.Arrays;

/**
 * Derives keys from passphrases: PBKDF2 of RFC 8018 with HMAC. The JDK's own takes characters, and
 * passphrases are bytes; this one is faster, too, since it begins each HMAC from a copy of the
 * state behind the padded passphrase.
 */
final class Pbkdf2 {
  /** Iterations of one measurement, before it is known how fast this machine is. */
  private static final int FIRST_GUESS = 4096;

  private static final long MEASURED_NANOS = 50_000_000;

  private final MessageDigest inner;
  private final MessageDigest outer;

  private Pbkdf2(Hash hash, byte[] password) {
    byte[] key = new byte[hash.blockBytes];
    if (password.length > hash.blockBytes) {
      byte[] digest = hash.digest().digest(password);
      System.arraycopy(digest, 0, key, 0, digest.length);
      Arrays.fill(digest, (byte) 0);
    } else {
      System.arraycopy(password, 0, key, 0, password.length);
    }
    inner = hash.digest();
    outer = hash.digest();
    inner.update(xor(key, 0x36));
    outer.update(xor(key, 0x36 ^ 0x5c));
    Arrays.fill(key, (byte) 0);
  }

  private static byte[] xor(byte[] key, int with) {
    for (int i = 0; i < key.length; i++) {
      key[i] ^= (byte) with;
    }
    return key;
  }

  /**
   * Derives a key.
   *
   * @param iterations at least 1
   * @param length of the key, in bytes
   */
  static byte[] derive(Hash hash, byte[] password, byte[] salt, long iterations, int length) {
    Pbkdf2 hmac = new Pbkdf2(hash, password);
    byte[] key = new byte[length];
    byte[] u = new byte[hash.bytes];
    byte[] sum = new byte[hash.bytes];
    byte[] first = Arrays.copyOf(salt, salt.length + 4);
    for (int at = 0, block = 1; at < length; at += hash.bytes, block++) {
      for (int i = 0; i < 4; i++) {
        first[salt.length + i] = (byte) (block >>> 24 - 8 * i);
      }
      hmac.apply(first, u);
      System.arraycopy(u, 0, sum, 0, u.length);
      for (long i = 1; i < iterations; i++) {
        hmac.apply(u, u);
        for (int j = 0; j < u.length; j++) {
          sum[j] ^= u[j];
        }
      }
      System.arraycopy(sum, 0, key, at, Math.min(sum.length, length - at));
    }
    Arrays.fill(u, (byte) 0);
    Arrays.fill(sum, (byte) 0);
    return key;
  }

  private void apply(byte[] message, byte[] out) {
    try {
      MessageDigest digest = (MessageDigest) inner.clone();
      digest.update(message);
      digest.digest(out, 0, out.length);
      digest = (MessageDigest) outer.clone();
      digest.update(out);
      digest.digest(out, 0, out.length);
    } catch (CloneNotSupportedException | DigestException e) {
      throw new IllegalStateException("the JDK's digests can be copied", e);
    }
  }

  /**
   * How many iterations take so long here.
   *
   * @param length of the key that will be derived, in bytes
   */
  static long iterations(Hash hash, int length, long millis) {
    byte[] salt = new byte[LuksSlot.SALT_BYTES];
    long tried = FIRST_GUESS;
    while (true) {
      long start = System.nanoTime();
      derive(hash, salt, salt, tried, length);
      long took = Math.max(1, System.nanoTime() - start);
      // A short wish needs no long measurement.
      if (took >= Math.min(MEASURED_NANOS, Math.max(1, millis) * 1_000_000)) {
        return (long) ((double) tried / took * millis * 1_000_000);
      }
      tried *= 2;
    }
  }
}
