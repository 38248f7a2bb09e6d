package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.CompressedRun;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.References;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which writes a connection's own thread may do, because they wait for nothing. */
class ServedExportTest {
  private static final int CLUSTER = 64 << 10;

  @TempDir private Path folder;

  @Test
  void aWriteWaitsForNothingWhereItNeedsNoBytesButItsOwn() throws IOException {
    try (Image image = Served.qcow2()) {
      image.write(bytes(CLUSTER), 0);
      image.write(bytes(2 * CLUSTER), 2 * CLUSTER);
      image.discard(2 * CLUSTER, CLUSTER, Discard.TO_ZERO);
      try (CompressedRun run = image.compress(bytes(CLUSTER), 4 * CLUSTER)) {
        run.write();
      }
      ServedExport export = new ServedExport(NbdExport.of("disk", image));

      assertThat(export.writesNow(0, 512)).as("nothing is known of the host's cache").isFalse();
      assertThat(export.readNow(ByteBuffer.allocateDirect(1), 0)).isTrue();
      assertThat(export.writesNow(CLUSTER - 512, 512)).as("in place").isTrue();
      assertThat(export.writesNow(CLUSTER + 512, 512)).as("nothing there yet").isTrue();
      assertThat(export.writesNow(2 * CLUSTER, 512)).as("zeroes").isTrue();
      assertThat(export.writesNow(CLUSTER - 512, 1024)).as("in part in place").isFalse();
      assertThat(export.writesNow(4 * CLUSTER, 512)).as("compressed").isFalse();
    }
  }

  @Test
  void aWriteOverABackingImageMayWaitForItsBytes() throws IOException {
    Path base = folder.resolve("base.qcow2");
    Path overlay = folder.resolve("overlay.qcow2");
    Images.create(base, CreateOptions.of("qcow2", Served.SIZE));
    Images.create(overlay, CreateOptions.of("qcow2", Served.SIZE).backing("base.qcow2", "qcow2"));
    var options = OpenOptions.of(References.sameFolder()).writable(true);
    try (Image image = Images.open(overlay, options)) {
      image.write(bytes(512), 0);
      ServedExport export = new ServedExport(NbdExport.of("disk", image));

      assertThat(export.readNow(ByteBuffer.allocateDirect(1), 0)).isTrue();
      assertThat(export.writesNow(0, 512)).isTrue();
      assertThat(export.writesNow(CLUSTER, 512)).isFalse();
    }
  }

  private static ByteBuffer bytes(int length) {
    ByteBuffer bytes = ByteBuffer.allocateDirect(length);
    while (bytes.hasRemaining()) {
      bytes.put((byte) 7);
    }
    return bytes.flip();
  }
}
