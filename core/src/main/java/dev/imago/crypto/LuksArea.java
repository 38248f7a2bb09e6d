package dev.imago.crypto;

import dev.imago.image.EncryptionKeyException;
import dev.imago.image.LuksOptions;
import dev.imago.image.Secret;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * A LUKS1 header and its key material, wherever in a storage they are. Opens, makes and changes key
 * slots. One caller at a time changes something.
 *
 * @param offset host offset of the header
 * @param length of header and key material, in bytes
 */
public record LuksArea(Storage storage, long offset, long length) {
  /** Fewest rounds of hashing, as elsewhere. */
  private static final long MIN_ITERATIONS = 1000;

  /** Key material begins at multiples of so many sectors, as QEMU and cryptsetup have it. */
  private static final int ALIGNMENT = 8;

  private static final SecureRandom RANDOM = new SecureRandom();

  /** The header. */
  public LuksHeader header() throws IOException {
    long there = Math.clamp(storage.size() - offset, 0, Math.min(length, LuksHeader.BYTES));
    ByteBuffer bytes = ByteBuffer.allocate((int) there);
    storage.read(bytes, offset);
    return LuksHeader.parse(bytes.flip(), offset, length, storage.name());
  }

  /**
   * Finds the key that a passphrase leads to.
   *
   * @return what encrypts and decrypts; the caller closes it
   * @throws EncryptionKeyException if the passphrase fits no slot
   * @throws UnsupportedFeatureException for a cipher or hash that is not known here
   */
  public SectorCipher unlock(Secret secret) throws IOException {
    LuksHeader header = header();
    CipherSpec spec = header.cipherSpec(storage.name(), offset);
    for (int i = 0; i < LuksHeader.SLOTS; i++) {
      byte[] key = tryUnlock(header, i, secret);
      if (key != null) {
        SectorCipher cipher = new SectorCipher(spec, key);
        Arrays.fill(key, (byte) 0);
        return cipher;
      }
    }
    throw new EncryptionKeyException(storage.name(), "Invalid password, cannot unlock any keyslot");
  }

  /** The active slots that a passphrase opens. */
  public List<Integer> matching(Secret secret) throws IOException {
    LuksHeader header = header();
    header.cipherSpec(storage.name(), offset);
    List<Integer> found = new ArrayList<>();
    for (int i = 0; i < LuksHeader.SLOTS; i++) {
      byte[] key = tryUnlock(header, i, secret);
      if (key != null) {
        Arrays.fill(key, (byte) 0);
        found.add(i);
      }
    }
    return found;
  }

  private byte @Nullable [] tryUnlock(LuksHeader header, int number, Secret secret)
      throws IOException {
    LuksSlot slot = header.slots().get(number);
    if (!slot.active()) {
      return null;
    }
    String name = storage.name();
    Hash hash = header.knownHash(name, offset);
    header.requireBearableDigest(name, offset);
    LuksHeader.requireBearable(
        slot.iterations(),
        "key slot " + number + " iterations",
        name,
        offset + LuksHeader.slotAt(number) + 4);
    byte[] password = secret.copy();
    byte[] slotKey =
        Pbkdf2.derive(hash, password, slot.salt(), slot.iterations(), header.keyBytes());
    Arrays.fill(password, (byte) 0);
    ByteBuffer material = ByteBuffer.allocate(header.materialBytes());
    storage.read(material, offset + slot.materialSector() * LuksHeader.SECTOR);
    try (SectorCipher cipher = new SectorCipher(header.cipherSpec(name, offset), slotKey)) {
      cipher.decrypt(material.flip(), 0);
    }
    byte[] key = AntiForensic.merge(hash, material.array(), header.keyBytes(), LuksHeader.STRIPES);
    Arrays.fill(slotKey, (byte) 0);
    Arrays.fill(material.array(), (byte) 0);
    if (header.digest().fits(hash, key)) {
      return key;
    }
    Arrays.fill(key, (byte) 0);
    return null;
  }

  /** Bytes that header and key material of a new image take. */
  public static long bytes(LuksOptions options) {
    return sectors(Made.of(options).spec.keyBytes()) * LuksHeader.SECTOR;
  }

  private static long sectors(int keyBytes) {
    return ALIGNMENT + LuksHeader.SLOTS * slotSectors(keyBytes);
  }

  private static long slotSectors(int keyBytes) {
    long sectors = ((long) keyBytes * LuksHeader.STRIPES + 511) / LuksHeader.SECTOR;
    return (sectors + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  /** What options come to. */
  private record Made(CipherSpec spec, String cipherMode, Hash hash) {
    /** Throws IllegalArgumentException for contradictions and what is not known. */
    static Made of(LuksOptions o) {
      Integer bits =
          switch (o.cipher()) {
            case "aes-128" -> 128;
            case "aes-192" -> 192;
            case "aes-256" -> 256;
            default -> throw notSupported(o.cipher());
          };
      String mode = o.mode() + "-" + o.ivGenerator();
      if (o.ivHash() != null) {
        mode += ":" + o.ivHash();
      }
      int keyBytes = bits / (o.mode().equals("xts") ? 4 : 8);
      Hash hash = Hash.of(o.hash());
      if (hash == null) {
        throw notSupported(o.hash());
      }
      if (keyBytes == 24) {
        throw new IllegalArgumentException(
            "aes-192 with cbc has keys that fill no whole sectors; other programs cannot open it");
      }
      try {
        return new Made(CipherSpec.of("aes", mode, keyBytes, "", 0), mode, hash);
      } catch (UnsupportedFeatureException e) {
        throw new IllegalArgumentException(e.field() + " " + e.problem(), e);
      }
    }

    private static IllegalArgumentException notSupported(String algorithm) {
      return new IllegalArgumentException("Algorithm '" + algorithm + "' not supported");
    }
  }

  /** Refuses options that {@link #create} would refuse. */
  public static void validate(LuksOptions options) {
    Made.of(options);
  }

  /**
   * Makes a header with a new key, which the options' secret opens. The area is written as far as
   * it is used, not flushed.
   *
   * @return what encrypts with the new key; the caller closes it
   */
  public SectorCipher create(LuksOptions options) throws IOException {
    Made made = Made.of(options);
    CipherSpec spec = made.spec;
    byte[] key = new byte[spec.keyBytes()];
    RANDOM.nextBytes(key);
    List<LuksSlot> slots = new ArrayList<>();
    for (int i = 0; i < LuksHeader.SLOTS; i++) {
      slots.add(
          new LuksSlot(
              false,
              0,
              new byte[LuksSlot.SALT_BYTES],
              ALIGNMENT + i * slotSectors(spec.keyBytes()),
              LuksHeader.STRIPES));
    }
    long iterations = iterations(made.hash, spec.keyBytes(), options.iterationMillis());
    KeyDigest digest =
        KeyDigest.of(
            made.hash, key, random(LuksSlot.SALT_BYTES), Math.max(MIN_ITERATIONS, iterations / 8));
    LuksHeader header =
        new LuksHeader(
            "aes",
            made.cipherMode,
            options.hash(),
            sectors(spec.keyBytes()),
            spec.keyBytes(),
            digest,
            UUID.randomUUID().toString(),
            slots);
    slots.set(0, writeMaterial(header, 0, key, options.secret(), iterations));
    ByteBuffer bytes = ByteBuffer.allocate(LuksHeader.BYTES);
    header.withSlots(slots).write(bytes);
    storage.write(bytes.flip(), offset);
    SectorCipher cipher = new SectorCipher(spec, key);
    Arrays.fill(key, (byte) 0);
    return cipher;
  }

  private static long iterations(Hash hash, int keyBytes, long millis) {
    long measured = Pbkdf2.iterations(hash, keyBytes, millis);
    return Math.clamp(measured, MIN_ITERATIONS, LuksHeader.MAX_ITERATIONS);
  }

  private static byte[] random(int length) {
    byte[] bytes = new byte[length];
    RANDOM.nextBytes(bytes);
    return bytes;
  }

  /** Writes a slot's key material. Returns the slot as it is to be, active. */
  private LuksSlot writeMaterial(
      LuksHeader header, int number, byte[] key, Secret secret, long iterations)
      throws IOException {
    String name = storage.name();
    Hash hash = header.knownHash(name, offset);
    LuksSlot slot = header.slots().get(number).with(true, iterations, random(LuksSlot.SALT_BYTES));
    byte[] password = secret.copy();
    byte[] slotKey = Pbkdf2.derive(hash, password, slot.salt(), iterations, key.length);
    Arrays.fill(password, (byte) 0);
    byte[] split = AntiForensic.split(hash, key, LuksHeader.STRIPES, RANDOM);
    ByteBuffer material = ByteBuffer.wrap(Arrays.copyOf(split, header.materialBytes()));
    try (SectorCipher cipher = new SectorCipher(header.cipherSpec(name, offset), slotKey)) {
      cipher.encrypt(material, 0);
    }
    Arrays.fill(split, (byte) 0);
    Arrays.fill(slotKey, (byte) 0);
    storage.write(material, offset + slot.materialSector() * LuksHeader.SECTOR);
    return slot;
  }

  /**
   * Adds a passphrase. The slot becomes active by one write of four bytes, after all that it needs
   * is safe: a crash leaves it either unused or whole.
   *
   * @param cipher has the key
   * @param slot which slot, not active; -1 for the first that is free
   * @param millis how long trying the passphrase is to take
   * @return the slot
   * @throws IllegalArgumentException if that slot, or all of them, is in use
   */
  public int add(SectorCipher cipher, Secret secret, int slot, long millis) throws IOException {
    LuksHeader header = header();
    int number = slot;
    for (int i = 0; i < LuksHeader.SLOTS && number < 0; i++) {
      if (!header.slots().get(i).active()) {
        number = i;
      }
    }
    if (number < 0) {
      throw new IllegalArgumentException("Can't add a keyslot - all keyslots are in use");
    }
    requireSlot(number);
    if (header.slots().get(number).active()) {
      throw new IllegalArgumentException(
          "Refusing to overwrite active keyslot %d - please erase it first".formatted(number));
    }
    Hash hash = header.knownHash(storage.name(), offset);
    byte[] key = cipher.key();
    try {
      long iterations = iterations(hash, key.length, millis);
      LuksSlot filled = writeMaterial(header, number, key, secret, iterations);
      writeSlot(number, filled.with(false, filled.iterations(), filled.salt()));
      storage.flush();
      writeState(number, LuksSlot.ACTIVE);
      storage.flush();
    } finally {
      Arrays.fill(key, (byte) 0);
    }
    return number;
  }

  /**
   * Takes a slot out of use and overwrites its key material. After a crash in between, erasing the
   * slot again does the rest.
   *
   * @param force whether the last active slot may go, and all data with it; and whether to erase
   *     what is erased already
   * @throws IllegalArgumentException if it is the last active one, or erased already
   */
  public void erase(int slot, boolean force) throws IOException {
    requireSlot(slot);
    LuksHeader header = header();
    long active = header.slots().stream().filter(LuksSlot::active).count();
    LuksSlot old = header.slots().get(slot);
    if (!old.active() && old.iterations() == 0 && !force) {
      throw new IllegalArgumentException(
          "Given keyslot %d is already erased (inactive) ".formatted(slot));
    }
    if (old.active() && active == 1 && !force) {
      throw new IllegalArgumentException(
          "Attempt to erase the only active keyslot %d which will erase all the data in the image"
                  .formatted(slot)
              + " irreversibly - refusing operation");
    }
    writeState(slot, LuksSlot.INACTIVE);
    storage.flush();
    storage.write(
        ByteBuffer.wrap(random(header.materialBytes())),
        offset + old.materialSector() * LuksHeader.SECTOR);
    storage.flush(); // what says that it is erased must not come before it is
    writeSlot(slot, old.with(false, 0, new byte[LuksSlot.SALT_BYTES]));
    storage.flush();
  }

  private static void requireSlot(int slot) {
    if (slot < 0 || slot >= LuksHeader.SLOTS) {
      throw new IllegalArgumentException(
          "Invalid keyslot %d specified, must be between 0 and %d"
              .formatted(slot, LuksHeader.SLOTS - 1));
    }
  }

  private void writeSlot(int number, LuksSlot slot) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(LuksSlot.BYTES);
    slot.write(bytes);
    storage.write(bytes.flip(), offset + LuksHeader.slotAt(number));
  }

  private void writeState(int number, int state) throws IOException {
    storage.write(
        ByteBuffer.allocate(Integer.BYTES).putInt(state).flip(),
        offset + LuksHeader.slotAt(number));
  }
}
