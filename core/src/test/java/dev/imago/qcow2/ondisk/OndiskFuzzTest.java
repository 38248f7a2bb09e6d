package dev.imago.qcow2.ondisk;

import static dev.imago.qcow2.ondisk.Hex.bytes;
import static dev.imago.qcow2.ondisk.Hex.plain;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.ImageException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * Bytes in, a record or an {@link ImageException} out; a record writes back what it was read from.
 */
class OndiskFuzzTest {
  private static final int ROUNDS = Boolean.getBoolean("imago.long") ? 5_000_000 : 25_000;

  private static final List<String> CLUSTERS =
      List.of(
          Hex.HEADER,
          Hex.HEADER + "e2792aca 00000005 71636f7732 000000 44415441 00000001 64 00000000000000",
          Hex.HEADER.replace(
                  "00000000 00000001 0000000000030000", "00000002 00000001 0000000000030000")
              + "0537be77 00000010 0000000000040000 00000000001f9000",
          Hex.HEADER + "6803f857 00000030 0005 6d61676963" + "00".repeat(41),
          Hex.HEADER + "23852875 00000018 00000001 00000000 0000000000000020 00000000000b0000");

  private static final String SNAPSHOT =
      "0000000000070000 00000001 0001 0005 6b02f8f7 06fb3758 0000000000000000"
          + "00000000 00000018 0000000000000000 0000000000100000 0000000000000000 316669727374 0000";

  private static final String BITMAP =
      "00000000000a0000 00000001 00000002 01 10 0002 00000000 6230 000000000000";

  private final Random random = new Random(20261122);

  @Test
  void clusterZeroIsParsedOrRefused() {
    int parsed = 0;
    for (int i = 0; i < ROUNDS; i++) {
      byte[] mutant = mutate(CLUSTERS.get(i % CLUSTERS.size()), 512);
      try {
        HeaderCluster c = HeaderCluster.parse(ByteBuffer.wrap(mutant), "fuzz");
        c.backingName();
        c.backingFormat();
        c.dataFileName();
        c.bitmaps();
        c.luks();
        c.featureNames().forEach(FeatureName::printable);
        assertThat(HeaderCluster.parse(c.write(), "again").extensions())
            .containsExactlyInAnyOrderElementsOf(c.extensions());
        parsed++;
      } catch (ImageException e) {
        assertThat(e.field()).isNotEmpty();
        assertThat(e.hostOffset()).isNotNegative();
      } catch (IllegalArgumentException e) {
        assertThat(e).hasMessage("No space left in the file header");
      }
    }
    assertThat(parsed).isBetween(ROUNDS / 50, ROUNDS);
  }

  @Test
  void snapshotEntriesAreParsedOrRefused() {
    for (int i = 0; i < ROUNDS; i++) {
      ByteBuffer in = ByteBuffer.wrap(mutate(SNAPSHOT, 72));
      try {
        SnapshotEntry e = SnapshotEntry.parse(in, 0x80000, "fuzz");
        ByteBuffer out = ByteBuffer.allocate(e.length());
        e.write(out);
        assertThat(SnapshotEntry.parse(out.flip(), 0, "again")).isEqualTo(e);
        e.requireL1(0, new Geometry(16, 4, 3, false), "fuzz");
      } catch (ImageException e) {
        assertThat(e.field()).isNotEmpty();
      }
    }
  }

  @Test
  void bitmapEntriesAreParsedOrRefused() {
    for (int i = 0; i < ROUNDS; i++) {
      ByteBuffer in = ByteBuffer.wrap(mutate(BITMAP, 32));
      try {
        BitmapDirectoryEntry e = BitmapDirectoryEntry.parse(in, 0xb0000, 65536, "fuzz");
        ByteBuffer out = ByteBuffer.allocate(e.length());
        e.write(out);
        assertThat(BitmapDirectoryEntry.parse(out.flip(), 0, 65536, "again")).isEqualTo(e);
      } catch (ImageException e) {
        assertThat(e.field()).isNotEmpty();
      }
    }
  }

  @Test
  void anyWordIsSomeKindOfEntry() {
    for (int i = 0; i < ROUNDS; i++) {
      long word = random.nextLong() & (random.nextLong() | random.nextLong());
      Geometry g =
          new Geometry(9 + random.nextInt(13), 4, 2 + random.nextInt(2), random.nextBoolean());
      if (new L2Entry(word, 0).kind(0, g) == L2Entry.Kind.COMPRESSED) {
        assertThat(g.compressedOffset(word)).isBetween(0L, Geometry.MAX_HOST_OFFSET - 1);
        assertThat(g.compressedLength(word)).isBetween(1, 2 * g.clusterSize());
      }
    }
  }

  /** Some bytes changed, some numbers made extreme, sometimes cut off. */
  private byte[] mutate(String hex, int capacity) {
    byte[] bytes = Arrays.copyOf(bytes(plain(hex)).array(), capacity);
    for (int i = random.nextInt(4); i >= 0; i--) {
      int at = random.nextInt(bytes.length);
      switch (random.nextInt(4)) {
        case 0 -> bytes[at] = (byte) random.nextInt();
        case 1 -> bytes[at] ^= (byte) (1 << random.nextInt(8));
        case 2 -> extreme(bytes, at & ~3, 4);
        default -> extreme(bytes, at & ~7, 8);
      }
    }
    return random.nextInt(16) == 0 ? Arrays.copyOf(bytes, random.nextInt(capacity)) : bytes;
  }

  private void extreme(byte[] bytes, int at, int width) {
    long[] values = {0, 1, -1, Long.MIN_VALUE, Long.MAX_VALUE, Integer.MAX_VALUE, 1L << 56, 512};
    long value = values[random.nextInt(values.length)];
    ByteBuffer out = ByteBuffer.allocate(8).putLong(value);
    System.arraycopy(out.array(), 8 - width, bytes, at, width);
  }
}
