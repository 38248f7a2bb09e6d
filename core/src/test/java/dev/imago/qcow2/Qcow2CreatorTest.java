package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.storage.FileStorage;
import dev.imago.testing.Qemu;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class Qcow2CreatorTest {
  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "512, 3, 1, 1048576, OFF",
    "512, 3, 64, 10485760, METADATA",
    "512, 2, 16, 1000000, OFF",
    "4096, 3, 64, 134217728, METADATA",
    "65536, 3, 16, 0, OFF",
    "65536, 3, 16, 1099511627776, OFF",
    "65536, 2, 16, 10737418240, METADATA",
    "65536, 3, 8, 8388608, FALLOC",
    "65536, 3, 32, 8388608, FULL",
    "2097152, 3, 16, 10000000000, METADATA",
    "2097152, 3, 2, 1152921504606846976, OFF"
  })
  void qemuFindsNothingWrongAndTheSizeAsAsked(
      int clusterSize, int version, int refcountBits, long size, Qcow2.Preallocation preallocation)
      throws Exception {
    Path file = folder.resolve("new.qcow2");
    try (FileStorage storage = FileStorage.create(file, FileStorage.Options.readWrite())) {
      Qcow2.create(
          storage,
          Qcow2.CreateOptions.ofSize(size)
              .withClusterSize(clusterSize)
              .withVersion(version, refcountBits)
              .withPreallocation(preallocation),
          null);
    }
    assertThat(Qemu.img("check", file)).contains("No errors were found");
    long rounded = (size + 511) / 512 * 512;
    assertThat(Qemu.img("info", "--output=json", file)).contains("\"virtual-size\": " + rounded);
    try (Image image = TestImages.open(file)) {
      assertThat(image.size()).isEqualTo(rounded);
      if (size > 70_000) {
        image.write(TestImages.filled(70_000, 3), rounded - 70_000);
        assertThat(TestImages.read(image, rounded - 70_000, 70_000)).containsOnly(3);
      }
    }
    assertThat(Qemu.img("check", file)).contains("No errors were found");
  }
}
