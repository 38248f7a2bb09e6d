package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.WritableRun;
import dev.imago.testing.Qemu;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReserveTest {
  private static final int CLUSTER = 65536;

  @TempDir private Path folder;

  /** Otherwise who goes on behind a run that is shorter than asked waits for itself. */
  @Test
  void aRunThatIsShorterThanAskedKeepsOthersFromItsOwnClustersOnly() throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", file, "4M");
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(CLUSTER, 1), 2L * CLUSTER);
      try (WritableRun run = image.reserve(0, 8L * CLUSTER, true)) {
        assertThat(run.length()).isEqualTo(2 * CLUSTER);
        image.write(TestImages.filled(6 * CLUSTER, 2), 2L * CLUSTER);
        run.storage().write(ByteBuffer.allocate((int) run.length()), run.hostOffset());
        run.commit();
      }
      assertThat(TestImages.read(image, 0, 2 * CLUSTER)).containsOnly(0);
      assertThat(TestImages.read(image, 2L * CLUSTER, 6 * CLUSTER)).containsOnly(2);
    }
    Qemu.check(file).clean();
  }
}
