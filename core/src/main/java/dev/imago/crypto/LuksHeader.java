package dev.imago.crypto;

import dev.imago.image.ImageFormatException;
import dev.imago.image.LuksInfo;
import dev.imago.image.UnsupportedFeatureException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * A LUKS header of version 1: 592 bytes, big endian. Texts are padded with NULs.
 *
 * <p>Spec: LUKS1 on-disk format 1.2.3, "The partition header".
 *
 * @param cipher for example {@code aes}
 * @param cipherMode for example {@code xts-plain64}
 * @param hash for example {@code sha256}
 * @param payloadSector where data starts in a file of its own; means nothing inside qcow2
 * @param keyBytes length of the master key
 * @param digest of the master key
 * @param slots always eight
 */
public record LuksHeader(
    String cipher,
    String cipherMode,
    String hash,
    long payloadSector,
    int keyBytes,
    KeyDigest digest,
    String uuid,
    List<LuksSlot> slots) {

  /** Length on disk. */
  public static final int BYTES = 592;

  /** Number of key slots. */
  public static final int SLOTS = 8;

  /** Parts that keys are split into; no program makes it more or less. */
  public static final int STRIPES = 4000;

  static final int SECTOR = 512;
  static final int AT_CIPHER = 8;
  static final int AT_CIPHER_MODE = 40;
  static final int AT_KEY_BYTES = 108;
  private static final int AT_SLOTS = 208;

  private static final int AT_HASH = 72;
  private static final int AT_ITERATIONS = 164;
  private static final int TEXT_BYTES = 32;
  private static final int UUID_BYTES = 40;
  private static final long MAGIC = 0x4c554b53babe_0001L;

  /**
   * More rounds than anybody's patience sets: some ten seconds of hashing. Without a limit a
   * stranger's image could keep a program busy for an hour.
   */
  static final long MAX_ITERATIONS = 1 << 25;

  /** Keeps a copy of the list. */
  public LuksHeader {
    slots = List.copyOf(slots);
  }

  /**
   * Reads a header and judges what can be judged without knowing the cipher.
   *
   * @param in the header, from its position on
   * @param at host offset of the header
   * @param length how many bytes belong to header and key material together
   * @param image the image's name, for messages
   */
  public static LuksHeader parse(ByteBuffer in, long at, long length, String image)
      throws ImageFormatException, UnsupportedFeatureException {
    if (in.remaining() < BYTES || length < BYTES) {
      throw new ImageFormatException(
          image,
          at,
          "LUKS header",
          "%d bytes; it has 592".formatted(Math.min(length, in.remaining())));
    }
    ByteBuffer b = in.slice();
    long magic = b.getLong();
    if (magic >>> 16 != MAGIC >>> 16) {
      throw new ImageFormatException(
          image, at, "LUKS magic", "0x%012x; it is 0x4c554b53babe".formatted(magic >>> 16));
    }
    if (magic != MAGIC) {
      throw new UnsupportedFeatureException(
          image, at + 6, "LUKS version", "%d; known is 1".formatted(magic & 0xffff));
    }
    final String cipher = text(b, TEXT_BYTES);
    final String mode = text(b, TEXT_BYTES);
    final String hash = text(b, TEXT_BYTES);
    final long payload = Integer.toUnsignedLong(b.getInt());
    long keyBytes = Integer.toUnsignedLong(b.getInt());
    final KeyDigest digest = KeyDigest.parse(b);
    final String uuid = text(b, UUID_BYTES);
    if (keyBytes < 16 || keyBytes > 64) {
      throw new ImageFormatException(
          image, at + AT_KEY_BYTES, "key-bytes", keyBytes + "; 16 to 64");
    }
    List<LuksSlot> slots = new ArrayList<>();
    for (int i = 0; i < SLOTS; i++) {
      int state = b.getInt();
      if (state != LuksSlot.ACTIVE && state != LuksSlot.INACTIVE) {
        throw new ImageFormatException(
            image,
            at + slotAt(i),
            "key slot " + i + " state",
            "0x%08x; 0x00ac71f3 (active) or 0x0000dead".formatted(state));
      }
      slots.add(LuksSlot.parse(b, state == LuksSlot.ACTIVE));
    }
    LuksHeader header =
        new LuksHeader(cipher, mode, hash, payload, (int) keyBytes, digest, uuid, slots);
    header.checkSlots(at, length, image);
    return header;
  }

  private static String text(ByteBuffer in, int length) {
    byte[] bytes = new byte[length];
    in.get(bytes);
    int end = 0;
    while (end < length && bytes[end] != 0) {
      end++;
    }
    return new String(bytes, 0, end, StandardCharsets.ISO_8859_1);
  }

  /** Key material lies behind the header, within the length, and overlaps no other slot's. */
  private void checkSlots(long at, long length, String image) throws ImageFormatException {
    for (int i = 0; i < SLOTS; i++) {
      LuksSlot slot = slots.get(i);
      long place = at + slotAt(i);
      if (slot.stripes() != STRIPES) {
        throw new ImageFormatException(
            image, place + 44, "key slot " + i + " stripes", slot.stripes() + "; always 4000");
      }
      long start = slot.materialSector() * SECTOR;
      long end = start + materialBytes();
      if (start < BYTES || end > length) {
        throw new ImageFormatException(
            image,
            place + 40,
            "key slot " + i + " offset",
            "sector %d; key material is %d bytes between the header and byte %d"
                .formatted(slot.materialSector(), materialBytes(), length));
      }
      for (int j = 0; j < i; j++) {
        long other = slots.get(j).materialSector() * SECTOR;
        if (start < other + materialBytes() && other < end) {
          throw new ImageFormatException(
              image,
              place + 40,
              "key slot " + i + " offset",
              "sector %d; that is key material of slot %d".formatted(slot.materialSector(), j));
        }
      }
    }
  }

  /** Length of one slot's key material on disk, in bytes: whole sectors. */
  int materialBytes() {
    return (keyBytes * STRIPES + SECTOR - 1) / SECTOR * SECTOR;
  }

  /** How this header says that sectors are encrypted. */
  CipherSpec cipherSpec(String image, long at) throws UnsupportedFeatureException {
    return CipherSpec.of(cipher, cipherMode, keyBytes, image, at);
  }

  /** The hash for deriving keys. */
  Hash knownHash(String image, long at) throws UnsupportedFeatureException {
    Hash known = Hash.of(hash);
    if (known == null) {
      throw new UnsupportedFeatureException(
          image,
          at + AT_HASH,
          "hash-spec",
          "'" + hash + "'; known are sha1, sha224, sha256, sha384, sha512 and md5");
    }
    return known;
  }

  /** Refuses rounds of hashing that only serve to keep somebody busy. */
  static void requireBearable(long iterations, String field, String image, long at)
      throws ImageFormatException {
    if (iterations < 1 || iterations > MAX_ITERATIONS) {
      throw new ImageFormatException(image, at, field, iterations + "; 1 to " + MAX_ITERATIONS);
    }
  }

  /** The same for the header's own digest. */
  void requireBearableDigest(String image, long at) throws ImageFormatException {
    requireBearable(digest.iterations(), "mk-digest-iter", image, at + AT_ITERATIONS);
  }

  /** Where a slot's record is, in bytes from the header. */
  static int slotAt(int slot) {
    return AT_SLOTS + slot * LuksSlot.BYTES;
  }

  /** Writes 592 bytes at {@code out}'s position and moves past them. */
  public void write(ByteBuffer out) {
    out.putLong(MAGIC);
    putText(out, cipher, TEXT_BYTES);
    putText(out, cipherMode, TEXT_BYTES);
    putText(out, hash, TEXT_BYTES);
    out.putInt((int) payloadSector).putInt(keyBytes);
    digest.write(out);
    putText(out, uuid, UUID_BYTES);
    for (LuksSlot slot : slots) {
      slot.write(out);
    }
  }

  private static void putText(ByteBuffer out, String text, int length) {
    byte[] bytes = text.getBytes(StandardCharsets.ISO_8859_1);
    out.put(bytes).put(new byte[length - bytes.length]);
  }

  /** The same with other slots. */
  LuksHeader withSlots(List<LuksSlot> newSlots) {
    return new LuksHeader(
        cipher, cipherMode, hash, payloadSector, keyBytes, digest, uuid, newSlots);
  }

  /** What it says to who has no key. */
  public LuksInfo info() {
    int dash = cipherMode.indexOf('-');
    String mode = dash < 0 ? cipherMode : cipherMode.substring(0, dash);
    String generator = dash < 0 ? "" : cipherMode.substring(dash + 1);
    int colon = generator.indexOf(':');
    @Nullable String ivHash = colon < 0 ? null : generator.substring(colon + 1);
    int bits = (mode.equals("xts") ? keyBytes / 2 : keyBytes) * 8;
    return new LuksInfo(
        cipher.toLowerCase(Locale.ROOT) + "-" + bits,
        mode,
        colon < 0 ? generator : generator.substring(0, colon),
        ivHash,
        hash,
        uuid,
        payloadSector * SECTOR,
        digest.iterations(),
        slots.stream()
            .map(
                slot ->
                    new LuksInfo.Slot(
                        slot.active(),
                        slot.iterations(),
                        slot.stripes(),
                        slot.materialSector() * SECTOR))
            .toList());
  }
}
