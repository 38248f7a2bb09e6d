package dev.imago.crypto;

import dev.imago.image.EncryptionKeyException;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/** An encrypted storage without its key: no byte of it can be read or written. */
public final class LockedStorage extends OverlaidStorage {

  private final @Nullable SectorCipher elsewhere;

  /** Locks {@code below}, which is closed with this one. */
  public LockedStorage(Storage below) {
    this(below, null);
  }

  /**
   * As above.
   *
   * @param elsewhere decrypts on another way than this; it is closed with this storage
   */
  public LockedStorage(Storage below, @Nullable SectorCipher elsewhere) {
    super(below);
    this.elsewhere = elsewhere;
  }

  private IOException locked() {
    return EncryptionKeyException.missing(below.name());
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    throw locked();
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    throw locked();
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    throw locked();
  }

  @Override
  public void close() throws IOException {
    if (elsewhere != null) {
      elsewhere.close();
    }
    below.close();
  }
}
