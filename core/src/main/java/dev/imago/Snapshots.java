package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.Snapshot;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.time.Instant;
import java.util.List;

/**
 * Internal snapshots: states of a disk that are kept inside its image. qcow2 has them.
 *
 * <p>A snapshot is found by its id first, then by its name. To read one, open the image with {@link
 * OpenOptions#snapshot}. What changes an image waits until the requests under way have ended, holds
 * others back meanwhile, and is on the disk when it returns; a crash finds it done or not done.
 *
 * <p>Any thread may call; a thread that holds a pin or a reservation would wait for itself.
 */
public final class Snapshots {
  private Snapshots() {}

  /** Whether images of a format can have snapshots. */
  public static boolean supported(Image image) {
    return image.format().equals(Formats.QCOW2);
  }

  /** The snapshots of an open image, oldest first as a rule; none if its format has none. */
  public static List<Snapshot> list(Image image) throws IOException {
    return supported(image) ? Qcow2.snapshots(image) : List.of();
  }

  /** Keeps the disk of a writable image as it is now. */
  public static Snapshot create(Image image, String name) throws IOException {
    return create(image, name, Instant.now());
  }

  /**
   * As above, with a date given by the caller.
   *
   * @param name need not be unique
   * @throws IllegalArgumentException if the image's format has no snapshots, or the name more than
   *     65535 bytes
   * @throws dev.imago.image.UnsupportedFeatureException if this image cannot have another snapshot;
   *     nothing was changed then
   */
  public static Snapshot create(Image image, String name, Instant date) throws IOException {
    return Qcow2.createSnapshot(image, name, date);
  }

  /**
   * Makes the disk of a writable image what it was, its size too. What it held is lost, the
   * snapshot stays.
   *
   * @throws dev.imago.image.NoSuchSnapshotException if there is none
   * @throws dev.imago.image.UnsupportedFeatureException if that cannot be; nothing was changed then
   */
  public static void apply(Image image, String idOrName) throws IOException {
    Qcow2.applySnapshot(image, idOrName);
  }

  /**
   * Deletes a snapshot of a writable image; the space that only it used becomes free.
   *
   * @throws dev.imago.image.NoSuchSnapshotException if there is none
   */
  public static void delete(Image image, String idOrName) throws IOException {
    Qcow2.deleteSnapshot(image, idOrName);
  }
}
