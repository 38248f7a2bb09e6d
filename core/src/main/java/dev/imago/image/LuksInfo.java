package dev.imago.image;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a LUKS header says to who has no key. Names as in QEMU where it has one for them.
 *
 * @param cipher for example {@code aes-256}
 * @param mode for example {@code xts}
 * @param ivGenerator for example {@code plain64}
 * @param ivHash of {@code essiv}, or null
 * @param hash for deriving keys
 * @param uuid as it stands in the header
 * @param payloadOffset where data would start in a file of its own, in bytes
 * @param masterKeyIterations rounds of hashing that the check of the key takes
 * @param slots always eight
 */
public record LuksInfo(
    String cipher,
    String mode,
    String ivGenerator,
    @Nullable String ivHash,
    String hash,
    String uuid,
    long payloadOffset,
    long masterKeyIterations,
    List<Slot> slots) {

  /** Keeps a copy of the list. */
  public LuksInfo {
    slots = List.copyOf(slots);
  }

  /**
   * A key slot: one passphrase's way to the key.
   *
   * @param active whether a passphrase is set
   * @param iterations rounds of hashing that trying a passphrase takes
   * @param stripes parts that the key is split into
   * @param keyOffset where these are, in bytes from the header
   */
  public record Slot(boolean active, long iterations, long stripes, long keyOffset) {}
}
