package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.CompactResult;
import dev.imago.image.EncryptionKeyException;
import dev.imago.image.Image;
import dev.imago.image.ImageFormatException;
import dev.imago.image.Progress;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.image.Secret;
import dev.imago.image.Snapshot;
import dev.imago.image.SyncMode;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** The door of the qcow2 room. */
public final class Qcow2 {
  private Qcow2() {}

  /** Whether these first bytes of a file say that it is a qcow2 image that we know. */
  public static boolean probe(ByteBuffer first512) {
    return Header.probe(first512);
  }

  /**
   * Opens an image.
   *
   * <p>An image whose dirty bit is set is opened for reading as it is; for writing, it is repaired
   * first as {@link #repair} does with {@link RepairMode#ALL}, and refused if something is left
   * then. One whose corrupt bit is set is opened for reading only.
   *
   * @param storage belongs to the image from now on, which closes it; it is closed too if opening
   *     fails
   * @param references opens the backing image and the data file that the image names
   */
  public static Image open(Storage storage, Qcow2OpenOptions options, ReferenceOpener references)
      throws IOException {
    return open(storage, options, references, Events.NONE);
  }

  /** As above, with a hook for fault injection. */
  static Qcow2Image open(
      Storage storage, Qcow2OpenOptions options, ReferenceOpener references, Events events)
      throws IOException {
    return OpenParts.open(storage, options, references, events);
  }

  /**
   * Makes an image in {@code storage}, whatever that held before, and flushes it. Until the last
   * moment the storage does not look like an image; a failure leaves it that way.
   *
   * @param storage stays open; made longer where needed
   * @param dataFile where guest data is to be kept; required if and only if {@link
   *     Qcow2CreateOptions#dataFile} is set. Stays open, is made as long as the disk; what it held
   *     before is zeroed if the guest could see it
   * @throws IllegalArgumentException if the options contradict each other or the format's limits
   */
  public static void create(Storage storage, Qcow2CreateOptions options, @Nullable Storage dataFile)
      throws IOException {
    create(storage, options, dataFile, SyncMode.FULL);
  }

  /** As above; with {@link SyncMode#NONE} nothing is flushed. */
  public static void create(
      Storage storage, Qcow2CreateOptions options, @Nullable Storage dataFile, SyncMode sync)
      throws IOException {
    Qcow2Creator.create(storage, options, dataFile, sync);
  }

  /**
   * Whether {@link #create} would accept these options, to be asked before an existing file is
   * emptied for them.
   *
   * @throws IllegalArgumentException if the options contradict each other or the format's limits
   */
  public static void validate(Qcow2CreateOptions options) throws IOException {
    Qcow2Creator.check(options);
  }

  /**
   * The length of the file of an image of which every cluster is allocated, in bytes; with a data
   * file, of both together.
   *
   * @throws IllegalArgumentException if there can be no image of that size
   */
  public static long spaceNeeded(Qcow2CreateOptions options) {
    return SpaceNeeded.image(options);
  }

  /** How many bytes a new image needs for copies of these bitmaps, of a disk of its size. */
  public static long spaceNeeded(Qcow2CreateOptions options, List<BitmapInfo> bitmaps) {
    return SpaceNeeded.bitmaps(options, bitmaps);
  }

  /** The name of the storage that holds an image's guest data, if that is not the image's own. */
  public static Optional<String> dataFile(Image image) {
    return image instanceof Qcow2Image qcow2 ? qcow2.dataFile() : Optional.empty();
  }

  /**
   * Adds a passphrase to an image that is encrypted with LUKS. A crash leaves the slot unused or
   * whole.
   *
   * @param image open for writing, with its key
   * @param slot 0 to 7, not in use; -1 for the first that is free
   * @param millis how long trying the passphrase is to take
   * @return the slot
   * @throws IllegalArgumentException if the slot is in use, or the image not encrypted with LUKS
   */
  public static int addKey(Image image, Secret secret, int slot, long millis) throws IOException {
    int[] used = {-1};
    KeySlots.of(image).changeKeys(slots -> used[0] = slots.add(secret, slot, millis));
    return used[0];
  }

  /**
   * Takes a key slot out of use and overwrites its key material.
   *
   * @param image open for writing
   * @param force whether the last slot may be erased, and all data with it
   * @throws IllegalArgumentException if it is the last one in use, or the image not encrypted with
   *     LUKS
   */
  public static void eraseKey(Image image, int slot, boolean force) throws IOException {
    KeySlots.of(image).changeKeys(slots -> slots.erase(slot, force));
  }

  /**
   * As {@link #eraseKey(Image, int, boolean)}, if this passphrase opens the slot.
   *
   * @throws IllegalArgumentException if it does not, too
   */
  public static void eraseKey(Image image, int slot, Secret secret, boolean force)
      throws IOException {
    KeySlots.of(image).changeKeys(slots -> slots.erase(slot, secret, force));
  }

  /**
   * Judges whether an image has key slots that can be changed.
   *
   * @throws IllegalArgumentException if it has not
   */
  public static void checkKeys(Image image) {
    KeySlots.of(image).requireKeys();
  }

  /**
   * Erases every slot that a passphrase opens.
   *
   * @return which
   * @throws EncryptionKeyException if it opens none
   * @throws IllegalArgumentException if no slot would be left
   */
  public static List<Integer> eraseKeys(Image image, Secret secret, boolean force)
      throws IOException {
    List<Integer> erased = new ArrayList<>();
    KeySlots.of(image).changeKeys(slots -> erased.addAll(slots.eraseMatching(secret, force)));
    return erased;
  }

  /**
   * Has an open image name another backing file, or none. What guests see changes with it; the
   * image itself goes on with the backing image that it was opened with. A crash leaves the old
   * name or the new one.
   *
   * @param image a writable image of this format
   * @param name null or empty for none
   * @param format of the backing file; null only without one
   * @throws IllegalArgumentException if the name does not fit into the header, or the image has a
   *     data file that must stay readable as a raw image
   */
  public static void changeBacking(Image image, @Nullable String name, @Nullable String format)
      throws IOException {
    if (!(image instanceof Qcow2Image qcow2)) {
      throw new IllegalArgumentException("Operation not supported");
    }
    qcow2.changeHeader(cluster -> Amendments.backing(cluster, name, format));
  }

  /**
   * Judges whether {@link #amend} could do what it is asked for; changes nothing.
   *
   * @param image a writable image of this format
   * @throws IllegalArgumentException with the reason, if it could not
   * @throws dev.imago.image.CorruptImageException if tables that would have to be changed are bad
   */
  public static void checkAmend(Image image, Qcow2AmendOptions options) throws IOException {
    qcow2(image).checkAmend(options);
  }

  /**
   * Changes what an image was made with, in steps each of which leaves a good image behind; guests
   * see the same after a crash in any of them. Waits for the requests under way, and holds others
   * back. When version 2 or another width of counts was asked for, the image can only be closed
   * afterwards.
   *
   * @param image a writable image of this format
   * @throws IllegalArgumentException as {@link #checkAmend} does, before anything is changed
   */
  public static void amend(Image image, Qcow2AmendOptions options, Progress progress)
      throws IOException {
    qcow2(image).amend(options, progress);
  }

  /**
   * Compares what the image counts with what it uses. Reads only; the image may be damaged in any
   * way, and should not be written to meanwhile.
   *
   * @throws ImageFormatException if the header is too bad for a check
   * @throws UnsupportedFeatureException if the image needs what is not known here
   */
  public static CheckResult check(Storage storage, Progress progress) throws IOException {
    return Qcow2Checker.check(storage, progress);
  }

  /**
   * Checks an image, sets right what can be set right, and checks again. If nothing is wrong then,
   * the dirty and the corrupt bit are cleared. A failure leaves the image no worse than it was.
   *
   * @param storage writable; nobody else may have the image open
   * @throws ImageFormatException if the header is too bad for a check
   * @throws UnsupportedFeatureException if the image needs what is not known here
   */
  public static RepairResult repair(Storage storage, RepairMode mode, Progress progress)
      throws IOException {
    return Qcow2Repair.run(storage, mode, progress);
  }

  /**
   * The dirty bitmaps that an open image keeps.
   *
   * @throws IllegalArgumentException if it is no qcow2 image
   * @throws ImageFormatException if their directory is broken
   */
  public static Bitmaps bitmaps(Image image) throws IOException {
    if (image instanceof Qcow2Image qcow2) {
      return qcow2.bitmaps();
    }
    throw new IllegalArgumentException(
        "%s: format '%s' does not support bitmaps".formatted(image.name(), image.format()));
  }

  /**
   * What the image says about itself. Opens nothing that it names.
   *
   * @throws ImageFormatException if the header or a table of it breaks the specification
   * @throws UnsupportedFeatureException if the image needs what is not known here
   */
  public static Qcow2Info info(Storage storage) throws IOException {
    return Qcow2Info.read(storage);
  }

  /** The internal snapshots of an open image, in the order of its table. */
  public static List<Snapshot> snapshots(Image image) throws IOException {
    return qcow2(image).snapshots();
  }

  /**
   * Keeps the disk of a writable image as it is now, in the image. Waits for the requests under
   * way, and holds others back; a crash finds the snapshot there as a whole or not at all.
   *
   * @param name at most 65535 bytes of UTF-8; need not be unique
   * @param date when the snapshot is said to have been made
   * @throws UnsupportedFeatureException if the image has a data file, or reference counts too
   *     narrow for another snapshot; nothing was changed then
   * @throws dev.imago.image.CorruptImageException if its tables or counts are bad; nothing was
   *     changed then
   */
  public static Snapshot createSnapshot(Image image, String name, Instant date) throws IOException {
    return qcow2(image).createSnapshot(name, date);
  }

  /**
   * Makes the disk of a writable image what it was when a snapshot was made, its size too. What the
   * disk held is lost, the snapshot stays. A crash finds the old disk or the new one.
   *
   * @param idOrName looked for among the ids first
   * @throws dev.imago.image.NoSuchSnapshotException if there is none
   * @throws UnsupportedFeatureException if the reference counts are too narrow, or the size of a
   *     version 2 image would change; nothing was changed then
   */
  public static void applySnapshot(Image image, String idOrName) throws IOException {
    qcow2(image).applySnapshot(idOrName);
  }

  /**
   * Deletes a snapshot of a writable image; the space that only it used becomes free.
   *
   * @param idOrName looked for among the ids first
   * @throws dev.imago.image.NoSuchSnapshotException if there is none
   */
  public static void deleteSnapshot(Image image, String idOrName) throws IOException {
    qcow2(image).deleteSnapshot(idOrName);
  }

  /**
   * Fills {@code dst} with the saved state of a virtual machine, which lies behind the end of the
   * disk. What was never saved reads as zero.
   *
   * @param offset in bytes from the start of the state
   */
  public static void readVmState(Image image, ByteBuffer dst, long offset) throws IOException {
    Objects.checkFromIndexSize(offset, dst.remaining(), Long.MAX_VALUE);
    qcow2(image).readVmState(dst, offset);
  }

  /**
   * Saves the state of a virtual machine behind the end of the disk: where the next snapshot finds
   * it, which is told nothing of its size. Growing the disk over it drops it. Waits for the
   * requests under way, and holds others back; as durable as a write.
   *
   * @param src all that remains
   * @param offset in bytes from the start of the state
   * @throws UnsupportedFeatureException if the image has a data file
   * @throws dev.imago.storage.StorageIoException {@code File too large} if it lies behind what an
   *     L1 table of the largest size can map; nothing was written then
   */
  public static void writeVmState(Image image, ByteBuffer src, long offset) throws IOException {
    Objects.checkFromIndexSize(offset, src.remaining(), Long.MAX_VALUE);
    qcow2(image).writeVmState(src, offset);
  }

  /**
   * Moves clusters of a writable image from the end of its file into free space further ahead, and
   * cuts the file off behind the last one. Guest bytes and snapshots stay what they are, and a
   * crash at any instant leaves leaked clusters at worst. Waits for the requests under way, and
   * holds others back. What cannot be moved (compressed clusters, bitmaps, a LUKS header and what
   * is encrypted with it) stays in place.
   *
   * @param progress told of clusters that have been looked at
   */
  public static CompactResult compact(Image image, Progress progress) throws IOException {
    return qcow2(image).compact(progress);
  }

  private static Qcow2Image qcow2(Image image) {
    if (image instanceof Qcow2Image qcow2) {
      return qcow2;
    }
    throw new IllegalArgumentException(image.name() + " is no qcow2 image");
  }
}
