package dev.imago.raw;

import dev.imago.image.Image;
import dev.imago.image.SyncMode;
import dev.imago.storage.Storage;
import java.io.IOException;

/** Raw images: guest offset is host offset. */
public final class Raw {
  private Raw() {}

  /**
   * Opens a storage as a disk.
   *
   * @param storage belongs to the image from then on
   * @param writable must be false if the storage is read-only
   */
  public static Image open(Storage storage, boolean writable, SyncMode sync) throws IOException {
    throw new UnsupportedOperationException();
  }
}
