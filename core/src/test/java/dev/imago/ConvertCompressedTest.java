package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.testing.OpenFiles;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ConvertCompressedTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int SIZE = (5 << 20) + 1536;
  private static final int CLUSTER = 65536;

  @TempDir Path folder;

  @AfterEach
  void nothingIsLeftOpen() throws IOException {
    assertThat(OpenFiles.below(folder)).isEmpty();
  }

  private static void convert(Path from, Path to, UnaryOperator<Convert> how, CreateOptions options)
      throws IOException {
    try (Image source = Images.openReadOnly(from, References.anywhere())) {
      how.apply(
              Convert.from(source)
                  .compressed(true)
                  .sync(SyncMode.NONE)
                  .references(References.anywhere()))
          .to(to, options);
    }
  }

  /** Half of it can be compressed. */
  private static byte[] disk(int size) {
    byte[] bytes = Disks.random(size, size);
    for (int at = 0; at < size; at++) {
      if ((at >>> 14) % 3 == 0 && bytes[at] != 0) {
        bytes[at] = (byte) (bytes[at] & 3);
      }
    }
    return bytes;
  }

  @ParameterizedTest(name = "clusters of {0}, {1} bit counts, version {2}, {3}, sparse size {4}")
  @CsvSource({
    "512, 16, 3, zlib, 4096",
    "4096, 1, 3, zstd, 4096",
    "65536, 16, 2, zlib, 4096",
    "65536, 64, 3, zstd, 0",
    "65536, 16, 3, zlib, 0",
    "2097152, 2, 3, zlib, 65536"
  })
  void qemuSeesTheSameDisk(int cluster, int bits, int version, String type, int sparse)
      throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), disk(SIZE));
    Path packed = folder.resolve("b.qcow2");
    var options =
        CreateOptions.of("qcow2", 0)
            .clusterSize(cluster)
            .version(version)
            .refcountBits(bits)
            .compressionType(type);

    convert(raw, packed, c -> c.parallelism(3).sparseSize(sparse), options);

    Qemu.check(packed).clean();
    Qemu.img("compare", "-f", "raw", "-F", "qcow2", raw, packed);
    assertThat(Disks.read(packed)).isEqualTo(Disks.read(raw));
  }

  @ParameterizedTest(name = "clusters of {0}, extended: {1}, {2}, compressed: {3}, {4} bytes")
  @CsvSource({
    "512, false, zlib, true, 1500000",
    "512, false, zlib, false, 14000000",
    "65536, false, zlib, true, 20000000",
    "65536, false, zstd, true, 20000000",
    "65536, false, zlib, false, 40000000",
    "4096, false, zlib, false, 20000000",
    "16384, true, zlib, true, 8000000",
    "65536, true, zstd, true, 20000000",
    "65536, true, zlib, false, 20000000",
    "2097152, false, zstd, true, 40000000"
  })
  void aDeterministicCopyIsTheSameFileAgainHoweverManyThreadsMakeIt(
      int cluster, boolean extended, String type, boolean compressed, int size) throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), disk(size));
    var options =
        CreateOptions.of("qcow2", 0)
            .clusterSize(cluster)
            .extendedL2(extended)
            .compressionType(type);
    Path first = folder.resolve("first.qcow2");
    convert(raw, first, c -> c.compressed(compressed).deterministic(true).parallelism(1), options);
    Qemu.check(first).clean();
    for (int i = 0; i < (LONG ? 10 : 1); i++) {
      for (int threads : new int[] {2, 4, 7, 16}) {
        Path again = folder.resolve("again.qcow2");
        convert(
            raw,
            again,
            c -> c.compressed(compressed).deterministic(true).parallelism(threads),
            options);
        assertThat(Files.mismatch(first, again)).as("%d threads", threads).isEqualTo(-1);
        Files.delete(again);
      }
    }
    Qemu.img("compare", "-f", "raw", "-F", "qcow2", raw, first);
  }

  @Test
  void aCopyOfAnOverlayHoldsWhatItsTopLayerHolds() throws Exception {
    Path base = Disks.raw(folder.resolve("base.raw"), disk(SIZE));
    Path top = folder.resolve("top.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top);
    Qemu.io(top, java.util.List.of("write -P 9 70k 5k", "write -z 512k 64k", "write -P 8 1M 64k"));
    for (int cluster : new int[] {4096, CLUSTER, 4 * CLUSTER}) {
      Path copy = folder.resolve("copy.qcow2");
      convert(
          top,
          copy,
          c -> c.keepBacking(true),
          CreateOptions.of("qcow2", 0).clusterSize(cluster).backing(base.toString(), "raw"));

      Qemu.check(copy).clean();
      Qemu.img("compare", "-f", "qcow2", "-F", "qcow2", top, copy);
      try (Image image = Images.openReadOnly(copy, References.anywhere())) {
        assertThat(image.map(2 << 20, 1)).isInstanceOf(Mapping.Backing.class);
        assertThat(image.map(1 << 20, 1)).isInstanceOf(Mapping.Encoded.class);
      }
      Files.delete(copy);
    }
  }

  @Test
  void clustersOfAnExistingTargetAreReplaced() throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), disk(SIZE));
    Path target = folder.resolve("b.qcow2");
    int size = SIZE + 3 * CLUSTER;
    byte[] before = Disks.random(3, size);
    try (Image image = Disks.created(target, CreateOptions.of("qcow2", size));
        Image source = Images.openReadOnly(raw, References.deny())) {
      image.write(java.nio.ByteBuffer.wrap(before), 0);
      Convert.from(source).compressed(true).to(image);
    }
    Qemu.check(target).clean();
    byte[] expected = before.clone();
    System.arraycopy(Disks.read(raw), 0, expected, 0, SIZE);
    assertThat(Disks.read(target)).isEqualTo(expected);
  }

  @Test
  void severalSourcesMeetWithinACluster() throws Exception {
    Path one = Disks.raw(folder.resolve("a.raw"), disk(100 * 512));
    Path two = Disks.raw(folder.resolve("b.raw"), disk(333 * 512));
    Path packed = folder.resolve("c.qcow2");
    try (Image first = Images.openReadOnly(one, References.deny());
        Image second = Images.openReadOnly(two, References.deny())) {
      Convert.from(first, second, first).compressed(true).to(packed, CreateOptions.of("qcow2", 0));
    }
    Qemu.check(packed).clean();
    byte[] expected = new byte[533 * 512];
    System.arraycopy(Disks.read(one), 0, expected, 0, 100 * 512);
    System.arraycopy(Disks.read(two), 0, expected, 100 * 512, 333 * 512);
    System.arraycopy(Disks.read(one), 0, expected, 433 * 512, 100 * 512);
    assertThat(Disks.read(packed)).isEqualTo(expected);
  }

  @Test
  void targetsWithoutCompressionAreRefusedBeforeAnythingIsTouched() throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), disk(CLUSTER));
    Path target = folder.resolve("b");
    Files.writeString(target, "as it was");
    for (CreateOptions options :
        new CreateOptions[] {
          CreateOptions.of("raw", 0),
          CreateOptions.of("qcow2", 0).preallocation(CreateOptions.Preallocation.FULL),
          CreateOptions.of("qcow2", 0).dataFile(folder.resolve("d").toString(), false)
        }) {
      assertThatThrownBy(() -> convert(raw, target, c -> c, options))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageStartingWith("Compression ");
    }
    assertThat(target).hasContent("as it was");
    try (Image source = Images.openReadOnly(raw, References.deny());
        Image memory = Disks.memory(new byte[CLUSTER])) {
      assertThatThrownBy(() -> Convert.from(source).compressed(true).to(memory))
          .isInstanceOf(UnsupportedFeatureException.class);
    }
  }

  @Test
  void aShortWindowMakesALongerFileThatQemuReads() throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), disk(SIZE));
    Path usual = folder.resolve("b.qcow2");
    Path strict = folder.resolve("c.qcow2");
    convert(raw, usual, c -> c.compressionLevel(9), CreateOptions.of("qcow2", 0));
    convert(raw, strict, c -> c.compatWindow(true), CreateOptions.of("qcow2", 0));
    assertThat(Files.size(strict)).isGreaterThanOrEqualTo(Files.size(usual));
    Qemu.check(strict).clean();
    Qemu.img("compare", "-f", "qcow2", "-F", "qcow2", usual, strict);
  }
}
