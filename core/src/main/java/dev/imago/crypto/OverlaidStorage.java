package dev.imago.crypto;

import dev.imago.storage.Storage;
import dev.imago.storage.StorageOver;
import java.io.IOException;

/**
 * What encrypted storages have in common: what is zero below is not zero here, nor are the new
 * bytes of a resize.
 */
abstract sealed class OverlaidStorage extends StorageOver permits EncryptedStorage, LockedStorage {

  OverlaidStorage(Storage below) {
    super(below);
  }

  @Override
  public boolean zeroesCheaply() {
    return false;
  }

  @Override
  public boolean holesReadAsZero() {
    return false;
  }

  /** Gives space back below. What then reads as zero there is not zero here. */
  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    below.discard(hostOffset, length);
    return false;
  }

  /** What was never written cannot be told from data. */
  @Override
  public Run run(long hostOffset, long maxLength) {
    if (hostOffset < 0 || maxLength < 1) {
      throw new IllegalArgumentException(
          "no such range: " + maxLength + " bytes at host offset " + hostOffset);
    }
    return new Run(true, maxLength);
  }
}
