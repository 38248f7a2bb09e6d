package dev.imago.raw;

import dev.imago.image.Image;
import dev.imago.image.SyncMode;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.function.Predicate;

/**
 * Raw images: guest offset is host offset, and nothing else is kept.
 *
 * <p>A raw file may have any length, a disk consists of sectors: the disk's {@link Image#size()} is
 * the storage's size when it was opened, rounded up to a multiple of 512, as QEMU does. What lies
 * between the storage's end and the disk's reads as zero, and a write there makes the storage
 * longer. No request, a discard least of all, makes the storage shorter.
 *
 * <p>{@link Image#map} calls a hole of the storage {@link dev.imago.image.Mapping.Zero} with {@code
 * explicit} and with the offset it has in the storage: it is the raw image that says that there are
 * zeroes, and they may be overwritten in place.
 */
public final class Raw {
  /** Disks consist of sectors of this many bytes. */
  static final int SECTOR = 512;

  private Raw() {}

  /**
   * Opens a storage as a disk.
   *
   * @param storage belongs to the image from then on; if this fails, it stays open and the caller's
   * @param writable must be false if the storage is read-only
   * @throws IOException if the storage's size cannot be told
   */
  public static Image open(Storage storage, boolean writable, SyncMode sync) throws IOException {
    return open(storage, writable, sync, first -> true);
  }

  /**
   * Opens a storage as a disk whose first sector is guarded, because nobody said that it is raw: a
   * guest must not be able to make it look like something else at the next probing.
   *
   * @param firstSector asked before each write to the first sector with the 512 bytes it would then
   *     have; false fails the write with {@link java.nio.file.AccessDeniedException}
   */
  public static Image open(
      Storage storage, boolean writable, SyncMode sync, Predicate<ByteBuffer> firstSector)
      throws IOException {
    if (writable && storage.readOnly()) {
      throw new IllegalArgumentException(storage.name() + " is read-only");
    }
    return new RawImage(storage, writable, sync, firstSector);
  }
}
