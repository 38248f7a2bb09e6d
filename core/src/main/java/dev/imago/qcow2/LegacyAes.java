package dev.imago.qcow2;

import dev.imago.crypto.CipherSpec;
import dev.imago.crypto.LockedStorage;
import dev.imago.crypto.SectorCipher;
import dev.imago.image.Secret;
import dev.imago.internal.Buffers;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Reads guest data of crypt_method 1: AES-128-CBC, each sector by its guest offset. The key is the
 * passphrase itself, cut or filled up with zeroes to 16 bytes, so that a wrong one is not noticed.
 *
 * <p>Spec: qcow2 digest, 9.
 */
final class LegacyAes {
  private static final int SECTOR = SectorCipher.SECTOR;
  private static final int PIECE = 256 << 10;

  private final Storage data;
  private final SectorCipher cipher;

  LegacyAes(Storage data, Secret secret) {
    this.data = data;
    byte[] password = secret.copy();
    byte[] key = Arrays.copyOf(password, CipherSpec.LEGACY_QCOW2.keyBytes());
    this.cipher = new SectorCipher(CipherSpec.LEGACY_QCOW2, key);
    Arrays.fill(password, (byte) 0);
    Arrays.fill(key, (byte) 0);
  }

  /** Stands for the data where only host offsets are known; wipes the key when it is closed. */
  Storage storage() {
    return new LockedStorage(data, cipher);
  }

  /** Fills a buffer from a run of host bytes. */
  void read(ByteBuffer dst, long hostOffset, long guestOffset) throws IOException {
    long at = guestOffset;
    long toHost = hostOffset - guestOffset;
    while (dst.hasRemaining()) {
      long first = at & -SECTOR;
      int before = (int) (at - first);
      int length = Math.min(dst.remaining(), PIECE - before);
      try (Buffers.Lease lease = Buffers.take(before + length + SECTOR - 1 & -SECTOR)) {
        ByteBuffer sectors = lease.buffer();
        data.read(sectors, first + toHost);
        cipher.decrypt(sectors.flip(), first / SECTOR);
        dst.put(sectors.slice(before, length));
      }
      at += length;
    }
  }
}
