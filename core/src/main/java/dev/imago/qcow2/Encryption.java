package dev.imago.qcow2;

import dev.imago.crypto.EncryptedStorage;
import dev.imago.crypto.LockedStorage;
import dev.imago.crypto.LuksArea;
import dev.imago.crypto.SectorCipher;
import dev.imago.image.EncryptionKeyException;
import dev.imago.image.Secret;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.Storage;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * How an image's guest data is encrypted, and the way to it. Metadata and compressed clusters never
 * are.
 *
 * <p>Spec: qcow2 digest, 9.
 *
 * @param guestData where guest data is read and written in the clear, by host offset; with LUKS
 *     that encrypts by host offset. Closing it wipes the key
 * @param method {@code luks}, {@code aes}, or null if nothing is encrypted
 * @param legacy decrypts what was encrypted by guest offset, or null
 */
record Encryption(Storage guestData, @Nullable String method, @Nullable LegacyAes legacy) {
  private static final String LUKS = "luks";
  private static final String AES = "aes";

  /**
   * Finds the key, if one is needed.
   *
   * @param storage the image file
   * @param data the data file, or the image file
   * @throws EncryptionKeyException if the options bring no key, or one that does not fit
   */
  static Encryption open(
      Storage storage, Storage data, HeaderCluster cluster, Qcow2OpenOptions options)
      throws IOException {
    Secret secret = options.key();
    int method = cluster.header().cryptMethod();
    if (method == 0) {
      return new Encryption(data, null, null);
    }
    if (method == Header.CRYPT_AES && options.writable()) {
      throw new UnsupportedFeatureException(
          storage.name(),
          Header.AT_CRYPT_METHOD,
          "crypt_method",
          "1 (AES); images with this method are only read, for it protects little",
          "convert it to a new image, with encrypt.format=luks if it is to be encrypted");
    }
    if (secret == null && options.locked()) {
      return locked(data, cluster.header());
    }
    if (secret == null) {
      throw EncryptionKeyException.missing(storage.name());
    }
    if (method == Header.CRYPT_AES) {
      LegacyAes legacy = new LegacyAes(data, secret);
      return new Encryption(legacy.storage(), AES, legacy);
    }
    SectorCipher cipher = luks(storage, cluster).unlock(secret);
    return new Encryption(new EncryptedStorage(data, cipher), LUKS, null);
  }

  /** Without a key: what is not encrypted is there, what is cannot be touched. */
  static Encryption locked(Storage data, Header header) {
    if (header.cryptMethod() == 0) {
      return new Encryption(data, null, null);
    }
    String name = header.cryptMethod() == Header.CRYPT_AES ? AES : LUKS;
    return new Encryption(new LockedStorage(data), name, null);
  }

  /** The LUKS header and key slots of an image whose crypt_method is LUKS. */
  static LuksArea luks(Storage storage, HeaderCluster cluster) {
    var pointer = cluster.luks().orElseThrow();
    return new LuksArea(storage, pointer.offset(), pointer.length());
  }
}
