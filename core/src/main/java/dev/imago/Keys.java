package dev.imago;

import dev.imago.image.EncryptionKeyException;
import dev.imago.image.Image;
import dev.imago.image.Secret;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.util.List;

/** Changes the passphrases of encrypted images. Guest data stays as it is. */
public final class Keys {
  private Keys() {}

  /**
   * Judges whether an image has passphrases that can be changed.
   *
   * @throws IllegalArgumentException if it has not
   */
  public static void check(Image image) {
    Qcow2.checkKeys(image);
  }

  /**
   * Adds a passphrase. A crash leaves its slot unused or whole.
   *
   * @param image a qcow2 image encrypted with LUKS, open for writing with one of its keys
   * @param slot 0 to 7, not in use; -1 for the first that is free
   * @param millis how long trying the passphrase is to take, in milliseconds
   * @return the slot
   * @throws IllegalArgumentException if the slot is in use, or the image not encrypted with LUKS
   * @throws EncryptionKeyException if the image was opened without a key
   */
  public static int add(Image image, Secret secret, int slot, long millis) throws IOException {
    return Qcow2.addKey(image, secret, slot, millis);
  }

  /**
   * Takes a key slot out of use and overwrites its key material. Erasing a slot again that a crash
   * left half erased does the rest.
   *
   * @param force whether the last slot may be erased, and all data with it, or one that is erased
   *     already
   * @throws IllegalArgumentException if it is the last one in use, or erased already, or the image
   *     not encrypted with LUKS
   */
  public static void erase(Image image, int slot, boolean force) throws IOException {
    Qcow2.eraseKey(image, slot, force);
  }

  /**
   * As {@link #erase(Image, int, boolean)}, if this passphrase opens the slot.
   *
   * @throws IllegalArgumentException if it does not, too
   */
  public static void erase(Image image, int slot, Secret secret, boolean force) throws IOException {
    Qcow2.eraseKey(image, slot, secret, force);
  }

  /**
   * Erases every slot that a passphrase opens.
   *
   * @return which
   * @throws EncryptionKeyException if it opens none
   * @throws IllegalArgumentException if no slot would be left and {@code force} is false
   */
  public static List<Integer> erase(Image image, Secret secret, boolean force) throws IOException {
    return Qcow2.eraseKeys(image, secret, force);
  }
}
