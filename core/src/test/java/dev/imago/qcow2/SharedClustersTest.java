package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Images with internal snapshots made by qemu-img: what is shared is copied, never changed. */
class SharedClustersTest {
  private static final int CLUSTER = 65536;
  private static final int SIZE = 4 << 20;

  @TempDir Path folder;
  private Path file;

  @BeforeEach
  void imageWithASnapshot() throws Exception {
    file = folder.resolve("image.qcow2");
    Qemu.img("create", "-f", "qcow2", file, SIZE);
    Qemu.io(file, List.of("write -P 0x11 0 2M", "write -z 1M 64k"));
    Qemu.img("snapshot", "-c", "first", file);
  }

  private byte[] snapshot() throws Exception {
    Path raw = folder.resolve("snapshot.raw");
    Qemu.img("convert", "-l", "snapshot.name=first", "-O", "raw", file, raw);
    byte[] bytes = Files.readAllBytes(raw);
    Files.delete(raw);
    return bytes;
  }

  @Test
  void theSnapshotKeepsItsBytesWhateverIsDoneToTheDisk() throws Exception {
    byte[] before = snapshot();
    byte[] expected = before.clone();
    SplittableRandom random = new SplittableRandom(1);
    try (Image image = TestImages.open(file)) {
      for (int i = 0; i < 60; i++) {
        int at = random.nextInt(SIZE / 512) * 512;
        int length = Math.min(SIZE - at, 512 * (1 + random.nextInt(300)));
        switch (random.nextInt(5)) {
          case 0 -> {
            image.writeZeroes(at, length, random.nextBoolean(), false);
            java.util.Arrays.fill(expected, at, at + length, (byte) 0);
          }
          case 1 -> {
            var range = image.discard(at, length, Image.Discard.TO_ZERO);
            java.util.Arrays.fill(
                expected,
                (int) range.guestOffset(),
                (int) (range.guestOffset() + range.length()),
                (byte) 0);
          }
          case 2 -> image.flush();
          default -> {
            image.write(filled(length, i + 1), at);
            java.util.Arrays.fill(expected, at, at + length, (byte) (i + 1));
          }
        }
      }
    }
    assertThat(Qemu.img("check", file)).contains("No errors were found");
    assertThat(Qemu.read(file, folder.resolve("raw"))).isEqualTo(expected);
    assertThat(snapshot()).isEqualTo(before);
  }

  @Test
  void anUntouchedTableStaysShared() throws Exception {
    try (Image image = TestImages.open(file)) {
      image.discard(3 << 20, CLUSTER, Image.Discard.TO_ZERO);
      image.writeZeroes(1 << 20, 512, true, false);
    }
    assertThat(TestImages.word(file, TestImages.word(file, 40)) >>> 63)
        .as("COPIED flag of the first L1 entry: nothing had to change")
        .isZero();
    assertThat(Qemu.img("check", file)).contains("No errors were found");
  }

  @Test
  void aMappedSharedClusterIsNotWritable() throws Exception {
    try (Image image = TestImages.open(file)) {
      assertThat(writable(image, 0)).isFalse();
      image.write(filled(512, 9), 0);
      assertThat(writable(image, 0)).isTrue();
      assertThat(writable(image, CLUSTER)).isFalse();
    }
  }

  private static boolean writable(Image image, long guestOffset) throws IOException {
    return ((Mapping.Data) image.map(guestOffset, CLUSTER)).writable();
  }
}
