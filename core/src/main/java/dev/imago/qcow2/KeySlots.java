package dev.imago.qcow2;

import dev.imago.crypto.EncryptedStorage;
import dev.imago.crypto.LuksArea;
import dev.imago.image.EncryptionKeyException;
import dev.imago.image.Image;
import dev.imago.image.Secret;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The passphrases of an open image. One change at a time. */
final class KeySlots {
  private final Metadata metadata;
  private final @Nullable LuksArea area;

  /** Something that changes key slots. */
  interface Change {
    void apply(KeySlots slots) throws IOException;
  }

  KeySlots(Metadata metadata, OpenParts parts) {
    this.metadata = metadata;
    this.area =
        parts.header().cryptMethod() == Header.CRYPT_LUKS
            ? Encryption.luks(parts.storage(), parts.cluster())
            : null;
  }

  static Qcow2Image of(Image image) {
    if (!(image instanceof Qcow2Image qcow2)) {
      throw new IllegalArgumentException(image.name() + " is no qcow2 image");
    }
    return qcow2;
  }

  /** Refuses an image that has no key slots. */
  void require() {
    area();
  }

  private LuksArea area() {
    if (area == null) {
      throw new IllegalArgumentException(
          metadata.header().cryptMethod() == 0
              ? "Can't amend encryption options - encryption not present"
              : "Only LUKS encryption options can be amended");
    }
    return area;
  }

  synchronized int add(Secret secret, int slot, long millis) throws IOException {
    LuksArea there = area();
    if (!(metadata.data instanceof EncryptedStorage open)) {
      throw EncryptionKeyException.missing(metadata.name);
    }
    return there.add(open.cipher(), secret, slot, millis);
  }

  synchronized void erase(int slot, boolean force) throws IOException {
    area().erase(slot, force);
  }

  synchronized void erase(int slot, Secret secret, boolean force) throws IOException {
    if (!area().matching(secret).contains(slot)) {
      throw new IllegalArgumentException(
          "Given keyslot %d doesn't contain the given old password for erase operation"
              .formatted(slot));
    }
    erase(slot, force);
  }

  synchronized List<Integer> eraseMatching(Secret secret, boolean force) throws IOException {
    LuksArea there = area();
    List<Integer> slots = there.matching(secret);
    if (slots.isEmpty()) {
      throw new EncryptionKeyException(
          metadata.name, "No keyslots match given (old) password for erase operation");
    }
    long active = there.header().slots().stream().filter(slot -> slot.active()).count();
    if (slots.size() == active && !force) {
      throw new IllegalArgumentException(
          "All the active keyslots match the (old) password that was given and erasing them will"
              + " erase all the data in the image irreversibly - refusing operation");
    }
    for (int slot : slots) {
      there.erase(slot, force);
    }
    return slots;
  }
}
