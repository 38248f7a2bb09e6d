package dev.imago.image;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How a new image's guest data is to be encrypted: LUKS version 1. Names are QEMU's.
 *
 * @param cipher {@code aes-128}, {@code aes-192} or {@code aes-256}
 * @param mode {@code xts} or {@code cbc}
 * @param ivGenerator {@code plain64}, {@code plain} or {@code essiv}
 * @param ivHash the hash of {@code essiv}; null for the others
 * @param hash for deriving keys: {@code sha1}, {@code sha224}, {@code sha256}, {@code sha384},
 *     {@code sha512}
 * @param iterationMillis how long it is to take to try a passphrase, measured when it is set
 * @param secret opens the image
 */
public record LuksOptions(
    String cipher,
    String mode,
    String ivGenerator,
    @Nullable String ivHash,
    String hash,
    long iterationMillis,
    Secret secret) {

  /** How long trying a passphrase takes if nobody says otherwise, in milliseconds. */
  public static final long DEFAULT_MILLIS = 2000;

  /** Nothing may be missing but the IV's hash. */
  public LuksOptions {
    Objects.requireNonNull(cipher);
    Objects.requireNonNull(mode);
    Objects.requireNonNull(ivGenerator);
    Objects.requireNonNull(hash);
    Objects.requireNonNull(secret);
  }

  /** QEMU's defaults: AES-256-XTS, plain64, SHA-256, two seconds. */
  public static LuksOptions of(Secret secret) {
    return new LuksOptions("aes-256", "xts", "plain64", null, "sha256", DEFAULT_MILLIS, secret);
  }

  /** A copy with another cipher and mode. */
  public LuksOptions withCipher(String newCipher, String newMode) {
    return new LuksOptions(newCipher, newMode, ivGenerator, ivHash, hash, iterationMillis, secret);
  }

  /** A copy with another way to number sectors. */
  public LuksOptions withIv(String generator, @Nullable String hashOfGenerator) {
    return new LuksOptions(cipher, mode, generator, hashOfGenerator, hash, iterationMillis, secret);
  }

  /** A copy with another hash. */
  public LuksOptions withHash(String newHash) {
    return new LuksOptions(cipher, mode, ivGenerator, ivHash, newHash, iterationMillis, secret);
  }

  /** A copy with another time, in milliseconds. */
  public LuksOptions withIterationMillis(long millis) {
    return new LuksOptions(cipher, mode, ivGenerator, ivHash, hash, millis, secret);
  }
}
