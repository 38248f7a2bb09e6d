package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static dev.imago.qcow2.TestImages.read;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a machine saves lies behind the end of the disk, and is no part of it. */
class VmStateTest {
  private static final int MIB = 1 << 20;

  @TempDir private Path folder;
  private Path file;

  /** With clusters of 4 KiB the state begins 2 MiB behind the start of the disk, or later. */
  private Image create(String options, String... backing) throws Exception {
    file = folder.resolve("image.qcow2");
    String name = file.toString();
    if (backing.length > 0) {
      Qemu.img(
          "create", "-q", "-f", "qcow2", "-o", options, "-b", backing[0], "-F", "raw", name, "1M");
    } else {
      Qemu.img("create", "-q", "-f", "qcow2", "-o", options, name, "1M");
    }
    return TestImages.open(file);
  }

  private static byte[] state(Image image, long offset, int length) throws IOException {
    ByteBuffer dst = ByteBuffer.allocate(length);
    Qcow2.readVmState(image, dst, offset);
    assertThat(dst.hasRemaining()).isFalse();
    return dst.array();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "cluster_size=4k",
        "cluster_size=4k,compat=0.10",
        "cluster_size=16k,extended_l2=on",
        "cluster_size=4k,refcount_bits=1"
      })
  void isReadBackAndByQemuToo(String options) throws Exception {
    try (Image image = create(options)) {
      Qcow2.writeVmState(image, filled(3 * MIB, 5), 0);
      Qcow2.writeVmState(image, filled(10_000, 6), MIB - 100);

      assertThat(state(image, MIB - 101, 1)).containsOnly(5);
      assertThat(state(image, MIB - 100, 10_000)).containsOnly(6);
      assertThat(state(image, MIB + 9_900, 1)).containsOnly(5);
      assertThat(state(image, 3 * MIB, MIB)).containsOnly(0);
      assertThat(read(image, 0, MIB)).containsOnly(0);
      assertThat(image.size()).isEqualTo(MIB);
    }

    Qemu.io(file, List.of("read -b -P 5 0 512", "read -b -P 5 2M 1M", "read -P 0 0 1M"));
    Qemu.check(file).clean();
  }

  /** A write to a part of a cluster that a snapshot shares took the rest of it for zero. */
  @Test
  void aPartThatIsWrittenAnewKeepsTheRestAndTheSnapshotItsOwn() throws Exception {
    try (Image image = create("cluster_size=4k")) {
      Qcow2.writeVmState(image, filled(8192, 5), 0);
      Qcow2.createSnapshot(image, "s", Instant.EPOCH);
      Qcow2.writeVmState(image, filled(10, 6), 4090);

      assertThat(state(image, 0, 4090)).containsOnly(5);
      assertThat(state(image, 4090, 10)).containsOnly(6);
      assertThat(state(image, 4100, 4092)).containsOnly(5);
    }

    Qcow2OpenOptions atSnapshot = Qcow2OpenOptions.defaults().withSnapshot("s");
    try (Image image =
        Qcow2.open(
            FileStorage.open(file, FileStorage.Options.readOnly()), atSnapshot, TestImages.FILES)) {
      assertThat(state(image, 0, 8192)).containsOnly(5);
    }
    Qemu.check(file).clean();
  }

  /** QEMU 7.2 shows it to the guest. */
  @Test
  void isNotSeenWhenTheDiskGrowsOverIt() throws Exception {
    try (Image image = create("cluster_size=4k")) {
      image.write(filled(4096, 1), MIB - 4096);
      Qcow2.writeVmState(image, filled(5 * MIB, 5), 0);

      image.resize(4L * MIB + 512, Preallocation.OFF, false);

      assertThat(read(image, MIB - 4096, 4096)).containsOnly(1);
      assertThat(read(image, MIB, 3 * MIB + 512)).containsOnly(0);
    }
    Qemu.io(file, List.of("read -P 0 1M 3M"));
    Qemu.check(file).clean();
  }

  @Test
  void isNotSeenWhenTheDiskGrowsOverItAndALongerBackingImageHasData() throws Exception {
    Path base = folder.resolve("base.raw");
    Files.write(base, filled(4 * MIB, 9).array());
    try (Image image = create("cluster_size=4k", base.toString())) {
      Qcow2.writeVmState(image, filled(5 * MIB, 5), 0);

      image.resize(4L * MIB, Preallocation.OFF, false);

      assertThat(read(image, 0, MIB)).containsOnly(9);
      assertThat(read(image, MIB, 3 * MIB)).containsOnly(0);
    }
    Qemu.check(file).clean();
  }

  @Test
  void aDataFileHasNoPlaceForIt() throws Exception {
    String options = "data_file=" + folder.resolve("data");
    try (Image image = create(options)) {
      assertThatThrownBy(() -> Qcow2.writeVmState(image, filled(512, 5), 0))
          .isInstanceOf(UnsupportedFeatureException.class)
          .hasMessageContaining("machine state");
    }
  }

  @Test
  void whatNoTableCanMapIsRefused() throws Exception {
    try (Image image = create("cluster_size=4k")) {
      assertThatThrownBy(() -> Qcow2.writeVmState(image, filled(512, 5), 1L << 59))
          .hasMessageContaining("File too large");
      assertThat(state(image, 1L << 59, 512)).containsOnly(0);
      Qcow2.writeVmState(image, filled(0, 5), 0);
    }
    Qemu.check(file).clean();
  }
}
