package dev.imago.crypto;

import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Arrays;

/**
 * Splits a key into many stripes, all of which are needed to get it back: to destroy it, it is
 * enough to destroy one of them.
 *
 * <p>Spec: LUKS1 on-disk format, "Anti-forensic splitter".
 */
final class AntiForensic {
  private AntiForensic() {}

  /** The stripes of a key, one behind the other. */
  static byte[] split(Hash hash, byte[] key, int stripes, SecureRandom random) {
    byte[] material = new byte[Math.multiplyExact(key.length, stripes)];
    byte[] sum = new byte[key.length];
    byte[] stripe = new byte[key.length];
    for (int i = 0; i < stripes - 1; i++) {
      random.nextBytes(stripe);
      System.arraycopy(stripe, 0, material, i * key.length, key.length);
      xor(sum, stripe, 0);
      diffuse(hash, sum);
    }
    int last = (stripes - 1) * key.length;
    for (int i = 0; i < key.length; i++) {
      material[last + i] = (byte) (sum[i] ^ key[i]);
    }
    Arrays.fill(sum, (byte) 0);
    return material;
  }

  /** The key, from its stripes. */
  static byte[] merge(Hash hash, byte[] material, int keyLength, int stripes) {
    byte[] sum = new byte[keyLength];
    for (int i = 0; i < stripes - 1; i++) {
      xor(sum, material, i * keyLength);
      diffuse(hash, sum);
    }
    xor(sum, material, (stripes - 1) * keyLength);
    return sum;
  }

  private static void xor(byte[] sum, byte[] with, int from) {
    for (int i = 0; i < sum.length; i++) {
      sum[i] ^= with[from + i];
    }
  }

  /** Replaces each digest-sized part by the hash of its number and itself. */
  private static void diffuse(Hash hash, byte[] block) {
    MessageDigest digest = hash.digest();
    byte[] number = new byte[4];
    for (int at = 0, i = 0; at < block.length; at += hash.bytes, i++) {
      number[2] = (byte) (i >>> 8);
      number[3] = (byte) i;
      int length = Math.min(hash.bytes, block.length - at);
      digest.update(number);
      digest.update(block, at, length);
      System.arraycopy(digest.digest(), 0, block, at, length);
    }
  }
}
