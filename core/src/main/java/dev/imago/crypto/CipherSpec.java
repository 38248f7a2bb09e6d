package dev.imago.crypto;

import dev.imago.image.UnsupportedFeatureException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How sectors are encrypted: always AES, for the JDK has no other block cipher that LUKS uses.
 *
 * @param keyBytes of the whole key: two keys of that half length with XTS
 * @param mode how the blocks of a sector are tied together
 * @param iv how a sector's number becomes its first vector
 * @param ivHash of {@link Iv#ESSIV}, or null
 */
public record CipherSpec(int keyBytes, Mode mode, Iv iv, @Nullable Hash ivHash) {

  /** How the blocks of a sector are tied together. */
  public enum Mode {
    /** IEEE 1619. */
    XTS,
    /** Cipher block chaining. */
    CBC
  }

  /** How a sector's number becomes its first vector, of 16 bytes. */
  public enum Iv {
    /** The low 32 bits of the number, little endian. */
    PLAIN,
    /** The number, little endian. */
    PLAIN64,
    /** The number, encrypted with the hash of the key. */
    ESSIV
  }

  /** The legacy method of qcow2: AES-128-CBC over numbers of guest sectors. */
  public static final CipherSpec LEGACY_QCOW2 = new CipherSpec(16, Mode.CBC, Iv.PLAIN64, null);

  /**
   * Finds out what the texts of a LUKS header mean.
   *
   * @param cipherMode for example {@code xts-plain64} or {@code cbc-essiv:sha256}
   * @param image the image's name, for messages
   * @param at host offset of the header, for messages
   * @throws UnsupportedFeatureException for what is not known here
   */
  static CipherSpec of(String cipher, String cipherMode, int keyBytes, String image, long at)
      throws UnsupportedFeatureException {
    if (!cipher.equals("aes")) {
      throw new UnsupportedFeatureException(
          image, at + LuksHeader.AT_CIPHER, "cipher-name", "'" + cipher + "'; known is aes");
    }
    String[] parts = cipherMode.split("[-:]", 3);
    Mode mode =
        switch (parts[0]) {
          case "xts" -> Mode.XTS;
          case "cbc" -> Mode.CBC;
          default -> throw unknownMode(cipherMode, image, at);
        };
    Iv iv =
        switch (parts.length > 1 ? parts[1] : "") {
          case "plain" -> Iv.PLAIN;
          case "plain64" -> Iv.PLAIN64;
          case "essiv" -> Iv.ESSIV;
          default -> throw unknownMode(cipherMode, image, at);
        };
    Hash ivHash = null;
    if (iv == Iv.ESSIV) {
      ivHash = parts.length > 2 ? Hash.of(parts[2]) : null;
      if (ivHash == null || !List.of(16, 24, 32).contains(ivHash.bytes)) {
        throw unknownMode(cipherMode, image, at);
      }
    } else if (parts.length > 2) {
      throw unknownMode(cipherMode, image, at);
    }
    List<Integer> allowed = mode == Mode.XTS ? List.of(32, 48, 64) : List.of(16, 24, 32);
    if (!allowed.contains(keyBytes)) {
      throw new UnsupportedFeatureException(
          image,
          at + LuksHeader.AT_KEY_BYTES,
          "key-bytes",
          "%d; with aes-%s: %s".formatted(keyBytes, cipherMode, allowed));
    }
    return new CipherSpec(keyBytes, mode, iv, ivHash);
  }

  private static UnsupportedFeatureException unknownMode(String cipherMode, String image, long at) {
    return new UnsupportedFeatureException(
        image,
        at + LuksHeader.AT_CIPHER_MODE,
        "cipher-mode",
        "'"
            + cipherMode
            + "'; known are xts and cbc with plain64, plain, or essiv and a hash of 16, 24 or 32"
            + " bytes");
  }
}
