package dev.imago.qcow2.ondisk;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * A record of the feature name table: what a feature bit is called, for those who do not know it.
 *
 * <p>Spec: qcow2 digest, section 4, extension 0x6803f857.
 *
 * @param field 0 incompatible, 1 compatible, 2 autoclear
 * @param bit 0 to 63 where it makes sense; any byte is kept
 * @param rawName 46 bytes, padded with NUL
 */
public record FeatureName(int field, int bit, Bytes rawName) {
  /** Length on disk, in bytes. */
  public static final int BYTES = 48;

  /** {@link #field} of an incompatible feature. */
  public static final int INCOMPATIBLE = 0;

  /** {@link #field} of a compatible feature. */
  public static final int COMPATIBLE = 1;

  /** {@link #field} of an autoclear feature. */
  public static final int AUTOCLEAR = 2;

  /** The table that is written into new images. */
  public static final List<FeatureName> KNOWN =
      List.of(
          of(INCOMPATIBLE, 0, "dirty bit"),
          of(INCOMPATIBLE, 1, "corrupt bit"),
          of(INCOMPATIBLE, 2, "external data file"),
          of(INCOMPATIBLE, 3, "compression type"),
          of(INCOMPATIBLE, 4, "extended L2 entries"),
          of(COMPATIBLE, 0, "lazy refcounts"),
          of(AUTOCLEAR, 0, "bitmaps"),
          of(AUTOCLEAR, 1, "raw external data"));

  private static final int NAME_BYTES = 46;

  /** A record with a name of at most 46 bytes of UTF-8. */
  public static FeatureName of(int field, int bit, String name) {
    ByteBuffer padded = ByteBuffer.allocate(NAME_BYTES);
    Bytes.of(name).write(padded);
    return new FeatureName(field, bit, Bytes.of(padded.array()));
  }

  /** Reads all whole records of a table; a rest of less than 48 bytes is no record. */
  public static List<FeatureName> parseTable(ByteBuffer in) {
    List<FeatureName> names = new ArrayList<>();
    while (in.remaining() >= BYTES) {
      int field = Byte.toUnsignedInt(in.get());
      int bit = Byte.toUnsignedInt(in.get());
      names.add(new FeatureName(field, bit, Bytes.take(in, NAME_BYTES)));
    }
    return names;
  }

  /** The table as a header extension. */
  public static HeaderExtension table(List<FeatureName> names) {
    ByteBuffer out = ByteBuffer.allocate(names.size() * BYTES);
    for (FeatureName name : names) {
      name.write(out);
    }
    return new HeaderExtension(HeaderExtension.FEATURE_NAMES, Bytes.of(out.array()));
  }

  /** Writes the 48 bytes at {@code out}'s position and moves past them. */
  public void write(ByteBuffer out) {
    out.put((byte) field).put((byte) bit);
    rawName.write(out);
  }

  /** The name without its padding. */
  public String name() {
    return rawName.text();
  }

  /** The name as it may be shown: with "?" for what is not printable. */
  public String printable() {
    return name().replaceAll("[\\p{Cntrl}\\p{Cf}]", "?");
  }
}
