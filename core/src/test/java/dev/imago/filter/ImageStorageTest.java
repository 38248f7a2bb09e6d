package dev.imago.filter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2CreateOptions;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.storage.StorageIoException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

class ImageStorageTest {
  private static final int CLUSTER = 1 << 16;

  private final MemoryStorage file = new MemoryStorage("m");

  private ImageStorage disk(long size) throws IOException {
    Qcow2.create(file, Qcow2CreateOptions.ofSize(size), null);
    return reopened();
  }

  private ImageStorage reopened() throws IOException {
    return new ImageStorage(open(file), file);
  }

  private static Image open(Storage storage) throws IOException {
    return Images.open(storage, OpenOptions.of(References.deny()).format("qcow2").writable(true));
  }

  private static ByteBuffer filled(int length, int value) {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) value);
    return ByteBuffer.wrap(bytes);
  }

  private static byte[] read(Storage storage, long at, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    storage.read(bytes, at);
    assertThat(bytes.hasRemaining()).isFalse();
    return bytes.array();
  }

  /** QEMU 7.2 says that it has written, and cannot find it again. */
  @Test
  void whatDoesNotFitIsRefusedAndNothingOfItWritten() throws Exception {
    try (ImageStorage disk = disk(2 * CLUSTER)) {
      assertThatThrownBy(() -> disk.write(filled(CLUSTER, 1), CLUSTER + 1))
          .isInstanceOf(StorageIoException.class)
          .hasMessage(
              "m: No space left on device (write of 65536 bytes, the disk of this qcow2 image has"
                  + " 131072 at host offset 0x10001)");
      assertThatThrownBy(() -> disk.writeZeroes(0, 1L << 40, Storage.ZeroMode.SPARSE))
          .hasMessageContaining("No space left on device");

      assertThat(read(disk, 0, 2 * CLUSTER)).containsOnly(0);
    }
  }

  @Test
  void whatLiesBehindTheEndReadsAsZero() throws Exception {
    try (ImageStorage disk = disk(CLUSTER)) {
      disk.write(filled(CLUSTER, 7), 0);

      byte[] bytes = read(disk, CLUSTER - 1, 3);

      assertThat(bytes).containsExactly(7, 0, 0);
      assertThat(read(disk, 1L << 50, 2)).containsOnly(0);
    }
  }

  @Test
  void aDiscardSaysWhetherAllOfItReadsAsZero() throws Exception {
    try (ImageStorage disk = disk(3 * CLUSTER + 512)) {
      disk.write(filled(3 * CLUSTER + 512, 7), 0);

      assertThat(disk.discard(1, CLUSTER)).isFalse();
      assertThat(read(disk, 0, CLUSTER + 1)).containsOnly(7);
      assertThat(disk.discard(CLUSTER, CLUSTER)).isTrue();
      assertThat(disk.discard(3 * CLUSTER, CLUSTER)).isTrue();
      assertThat(read(disk, 3 * CLUSTER, 512)).containsOnly(0);
      assertThat(disk.discard(1L << 40, CLUSTER)).isTrue();
    }
  }

  @Test
  void holesAreWhatTheImageKnowsToBeZero() throws Exception {
    try (ImageStorage disk = disk(4 * CLUSTER)) {
      disk.write(filled(CLUSTER, 7), CLUSTER);

      assertThat(disk.run(0, 4 * CLUSTER)).isEqualTo(new Storage.Run(false, CLUSTER));
      assertThat(disk.run(CLUSTER, 4 * CLUSTER)).isEqualTo(new Storage.Run(true, CLUSTER));
    }
  }

  /** Both images have metadata in memory: the upper one's must reach the lower one in time. */
  @Test
  void anImageOnAnImageIsThereAfterClosing() throws Exception {
    ImageStorage disk = disk(16 * CLUSTER);
    Qcow2.create(disk, Qcow2CreateOptions.ofSize(64 * CLUSTER), null);
    try (Image upper = open(disk)) {
      upper.write(filled(CLUSTER, 5), 9 * CLUSTER);
    }

    try (Image upper = open(reopened())) {
      ByteBuffer bytes = ByteBuffer.allocate(CLUSTER);
      upper.read(bytes, 9 * CLUSTER);
      assertThat(bytes.array()).containsOnly(5);
    }
    assertThat(Images.check(file, "qcow2", Progress.NONE).clean()).isTrue();
  }

  /** The lower disk fills up: what was written before stays. */
  @Test
  void anImageThatHasFilledTheDiskBelowKeepsWhatItHas() throws Exception {
    ImageStorage disk = disk(8 * CLUSTER);
    Qcow2.create(disk, Qcow2CreateOptions.ofSize(64 * CLUSTER), null);
    int written = 0;
    try (Image upper = open(disk)) {
      while (true) {
        upper.write(filled(CLUSTER, written + 1), (long) written * CLUSTER);
        written++;
      }
    } catch (IOException e) {
      assertThat(e).hasMessageContaining("No space left on device");
    }

    assertThat(written).isBetween(2, 7);
    try (Image upper = open(reopened())) {
      for (int i = 0; i < written; i++) {
        ByteBuffer bytes = ByteBuffer.allocate(CLUSTER);
        upper.read(bytes, (long) i * CLUSTER);
        assertThat(bytes.array()).containsOnly(i + 1);
      }
    }
  }
}
