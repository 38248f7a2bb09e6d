package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.WritableRun;
import dev.imago.testing.Qemu;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FileEndTest {
  @TempDir private Path folder;

  /**
   * A file that ended within a sector could keep that end in a crash though the sector was written
   * whole since: the guest then saw half of it (found by COMPRESSING, seed 9).
   */
  @ParameterizedTest
  @ValueSource(strings = {"cluster_size=512", "cluster_size=64k", "extended_l2=on"})
  void aWriteThatEndsWithinASectorDoesNotEndTheFileThere(String options) throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, "4M");
    try (Image image = TestImages.open(file)) {
      for (long guestOffset : new long[] {0, 70_000, 1 << 20}) {
        image.write(TestImages.filled(0x10e8, 1), guestOffset);
        assertThat(Files.size(file) % 512).isZero();
        image.write(TestImages.filled(0x1100, 2), guestOffset + 0x10e8);
        assertThat(Files.size(file) % 512).isZero();
      }
      assertThat(TestImages.read(image, 0, 0x10e8)).containsOnly(1);
      assertThat(TestImages.read(image, 0x10e8, 0x1100)).containsOnly(2);
    }
    Qemu.check(file).clean();
  }

  /** The same, where the caller writes for itself to the place that it was given. */
  @ParameterizedTest
  @ValueSource(strings = {"cluster_size=512", "cluster_size=64k", "extended_l2=on"})
  void aPlaceThatIsReservedInPartDoesNotEndTheFileWithinASector(String options) throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, "4M");
    try (Image image = TestImages.open(file)) {
      for (long guestOffset : new long[] {0x10e8, 70_000, 1 << 20}) {
        try (WritableRun run = image.reserve(guestOffset, 100, true)) {
          assertThat(Files.size(file) % 512).isZero();
          run.storage().write(TestImages.filled((int) run.length(), 1), run.hostOffset());
          assertThat(Files.size(file) % 512).isZero();
          run.commit();
        }
        assertThat(TestImages.read(image, guestOffset, 100)).containsOnly(1);
      }
    }
    Qemu.check(file).clean();
  }
}
