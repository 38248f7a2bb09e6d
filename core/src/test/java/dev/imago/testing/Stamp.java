package dev.imago.testing;

import java.nio.ByteBuffer;
import java.util.random.RandomGenerator;

/**
 * Sector contents that tell where they belong: every 16 bytes name the run's seed, the guest sector
 * and the version, so that a byte in the wrong place is not only seen but also traced.
 */
public final class Stamp {
  private static final int SECTOR = ByteOracle.SECTOR;
  private static final int UNIT = 16;
  private static final long MAGIC = 0xc0deL << 48;
  private static final long LOW_48 = (1L << 48) - 1;

  private Stamp() {}

  /** The 512 bytes of a guest sector's version. */
  public static byte[] sector(long seed, long sector, long version) {
    ByteBuffer bytes = ByteBuffer.allocate(SECTOR);
    while (bytes.hasRemaining()) {
      bytes.putLong(MAGIC | (version & LOW_48)).putLong(seed << 48 | (sector & LOW_48));
    }
    return bytes.array();
  }

  /** Guest bytes from {@code guestOffset} on, all of one version. */
  public static byte[] bytes(long seed, long guestOffset, int length, long version) {
    byte[] bytes = new byte[length];
    for (int filled = 0; filled < length; ) {
      long at = guestOffset + filled;
      int in = (int) (at % SECTOR);
      int part = Math.min(length - filled, SECTOR - in);
      System.arraycopy(sector(seed, at / SECTOR, version), in, bytes, filled, part);
      filled += part;
    }
    return bytes;
  }

  /**
   * Makes a range harder to compress: an eighth of all become nothing but noise, half of the others
   * end with some, so that what they become has any length.
   */
  static void roughen(byte[] bytes, int from, int end, RandomGenerator random) {
    int roll = random.nextInt(8);
    if (roll < 4) {
      byte[] noise = new byte[roll == 0 ? end - from : random.nextInt(end - from)];
      random.nextBytes(noise);
      System.arraycopy(noise, 0, bytes, end - noise.length, noise.length);
    }
  }

  /**
   * Whether 512 bytes hold nothing but zeroes and units of versions of this very sector.
   *
   * @param whole whether they must all be of one version, or all zeroes
   */
  public static boolean belongs(byte[] bytes, int from, long seed, long sector, boolean whole) {
    ByteBuffer units = ByteBuffer.wrap(bytes, from, SECTOR);
    long first = units.getLong(from);
    while (units.hasRemaining()) {
      long version = units.getLong();
      long place = units.getLong();
      boolean zero = version == 0 && place == 0;
      if (!zero && ((version & ~LOW_48) != MAGIC || place != (seed << 48 | (sector & LOW_48)))) {
        return false;
      }
      if (whole && version != first) {
        return false;
      }
    }
    return true;
  }

  /** What a sector holds, in words. */
  public static String describe(byte[] bytes) {
    StringBuilder text = new StringBuilder();
    String last = "";
    for (int at = 0; at + UNIT <= bytes.length; at += UNIT) {
      String unit = unit(ByteBuffer.wrap(bytes, at, UNIT));
      if (!unit.equals(last)) {
        text.append(at == 0 ? "" : ", from byte %d on ".formatted(at)).append(unit);
        last = unit;
      }
      if (text.length() > 400) {
        return text.append(" …").toString();
      }
    }
    return text.toString();
  }

  private static String unit(ByteBuffer unit) {
    long version = unit.getLong();
    long place = unit.getLong();
    if (version == 0 && place == 0) {
      return "zeroes";
    }
    if ((version & ~LOW_48) == MAGIC) {
      return "sector 0x%x version %d".formatted(place & LOW_48, version & LOW_48);
    }
    return "%016x%016x".formatted(version, place);
  }
}
