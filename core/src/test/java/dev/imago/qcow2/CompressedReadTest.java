package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CompressedReadTest {
  @TempDir Path folder;

  private byte[] text(int length) {
    byte[] bytes = new byte[length];
    SplittableRandom random = new SplittableRandom(7);
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) ('a' + random.nextInt(1 + (i >>> 12) % 25));
    }
    return bytes;
  }

  private Path compressed(byte[] bytes, String options) throws Exception {
    Path raw = folder.resolve("source.raw");
    Files.write(raw, bytes);
    Path file = folder.resolve("compressed.qcow2");
    Qemu.img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, file);
    return file;
  }

  @ParameterizedTest
  @CsvSource({
    "'compression_type=zlib,cluster_size=512'",
    "'compression_type=zlib,cluster_size=65536'",
    "'compression_type=zlib,cluster_size=2097152'",
    "'compression_type=zstd,cluster_size=4096'",
    "'compression_type=zstd,cluster_size=65536'",
    "'compression_type=zstd,cluster_size=2097152'"
  })
  void everyRangeReadsAsItWasWritten(String options) throws Exception {
    byte[] bytes = text(5 << 20);
    Path file = compressed(bytes, options);
    SplittableRandom random = new SplittableRandom(3);
    try (Image image = TestImages.openReadOnly(file)) {
      assertThat(TestImages.read(image, 0, bytes.length)).isEqualTo(bytes);
      ByteBuffer direct = ByteBuffer.allocateDirect(bytes.length);
      image.read(direct, 0);
      assertThat(direct.flip()).isEqualTo(ByteBuffer.wrap(bytes));
      for (int i = 0; i < 200; i++) {
        int at = random.nextInt(bytes.length);
        int length = random.nextInt(Math.min(200_000, bytes.length - at));
        assertThat(TestImages.read(image, at, length))
            .isEqualTo(Arrays.copyOfRange(bytes, at, at + length));
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"compression_type=zlib", "compression_type=zstd"})
  void brokenBytesGiveAnErrorWithTheirPlaceAndNeverOldMemory(String options) throws Exception {
    byte[] bytes = text(65536);
    Path file = compressed(bytes, options);
    long host;
    try (Image image = TestImages.openReadOnly(file)) {
      host = ((Mapping.Encoded) image.map(0, 65536)).hostOffset();
    }
    byte[] broken = Files.readAllBytes(file);
    Arrays.fill(broken, (int) host, (int) host + 64, (byte) 0xff);
    Files.write(file, broken);
    try (Image image = TestImages.openReadOnly(file)) {
      assertThatThrownBy(() -> TestImages.read(image, 512, 1024))
          .isInstanceOf(IOException.class)
          .hasMessageContaining("compressed cluster at host offset 0x" + Long.toHexString(host))
          .hasMessageContaining("guest offset 0x200");
    }
  }
}
