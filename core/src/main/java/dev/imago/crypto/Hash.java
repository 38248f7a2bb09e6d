package dev.imago.crypto;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** A hash function that LUKS headers name and the JDK has. */
public enum Hash {
  /** 128 bits. For ESSIV with AES-128. */
  MD5("MD5", 16, 64),
  /** 160 bits. */
  SHA1("SHA-1", 20, 64),
  /** 224 bits. */
  SHA224("SHA-224", 28, 64),
  /** 256 bits. */
  SHA256("SHA-256", 32, 64),
  /** 384 bits. */
  SHA384("SHA-384", 48, 128),
  /** 512 bits. */
  SHA512("SHA-512", 64, 128);

  /** The name that providers know. */
  private final String algorithm;

  /** Length of a digest, in bytes. */
  final int bytes;

  /** What is hashed at once, in bytes. */
  final int blockBytes;

  Hash(String algorithm, int bytes, int blockBytes) {
    this.algorithm = algorithm;
    this.bytes = bytes;
    this.blockBytes = blockBytes;
  }

  /** The hash of that name in a LUKS header, or null if there is none here. */
  public static @Nullable Hash of(String name) {
    for (Hash hash : values()) {
      if (hash.name().toLowerCase(Locale.ROOT).equals(name)) {
        return hash;
      }
    }
    return null;
  }

  MessageDigest digest() {
    try {
      return MessageDigest.getInstance(algorithm);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has " + algorithm, e);
    }
  }
}
