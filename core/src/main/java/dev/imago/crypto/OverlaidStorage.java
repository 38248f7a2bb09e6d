package dev.imago.crypto;

import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;

/** What encrypted storages have in common: all but the bytes themselves is as it is below. */
abstract sealed class OverlaidStorage implements Storage permits EncryptedStorage, LockedStorage {
  final Storage below;

  OverlaidStorage(Storage below) {
    this.below = below;
  }

  @Override
  public String name() {
    return below.name();
  }

  @Override
  public boolean readOnly() {
    return below.readOnly();
  }

  @Override
  public void event(BlockEvent event) {
    below.event(event);
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

  @Override
  public long size() throws IOException {
    return below.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return below.allocatedBytes();
  }

  /** As below; new bytes are not zero here. */
  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    below.resize(size, preallocation);
  }

  @Override
  public void flush() throws IOException {
    below.flush();
  }

  @Override
  public void invalidateCache() throws IOException {
    below.invalidateCache();
  }
}
