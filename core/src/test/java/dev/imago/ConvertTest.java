package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import dev.imago.testing.OpenFiles;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Copies of images, compared with their sources by qemu-img. */
class ConvertTest {
  private static final int SIZE = (6 << 20) + 5 * 512;

  @TempDir Path folder;

  @AfterEach
  void nothingIsLeftOpen() throws IOException {
    assertThat(OpenFiles.below(folder)).isEmpty();
  }

  @ParameterizedTest(name = "clusters of {0}, version {1}, sparse size {2}, {3} threads")
  @CsvSource({
    "512, 3, 4096, 2",
    "4096, 2, 4096, 3",
    "65536, 3, 4096, 1",
    "65536, 3, 0, 2",
    "65536, 2, 512, 4",
    "65536, 3, 65536, 2",
    "65536, 3, 12288, 2",
    "2097152, 3, 4096, 4",
    "2097152, 3, 16777216, 2"
  })
  void aCopyToQcow2AndBackIsTheSame(int clusterSize, int version, int sparseSize, int parallelism)
      throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), Disks.random(clusterSize + version, SIZE));
    Path qcow2 = folder.resolve("b.qcow2");
    Path back = folder.resolve("c.raw");
    var options = CreateOptions.of("qcow2", 0).clusterSize(clusterSize).version(version);

    convert(raw, "raw", c -> c.sparseSize(sparseSize).parallelism(parallelism), qcow2, options);
    convert(qcow2, "qcow2", c -> c.parallelism(parallelism), back, CreateOptions.of("raw", 0));

    Qemu.check(qcow2).clean();
    Qemu.img("compare", "-f", "raw", "-F", "qcow2", raw, qcow2);
    assertThat(Files.mismatch(raw, back)).isEqualTo(-1);
  }

  @ParameterizedTest
  @ValueSource(strings = {"zlib", "zstd"})
  void compressedClustersAreInflated(String type) throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), Disks.random(7, SIZE));
    Path packed = folder.resolve("b.qcow2");
    String option = "compression_type=" + type;
    Qemu.img("convert", "-c", "-O", "qcow2", "-o", option, "-f", "raw", raw, packed);

    convert(packed, "qcow2", c -> c, folder.resolve("c.raw"), CreateOptions.of("raw", 0));

    assertThat(Files.mismatch(raw, folder.resolve("c.raw"))).isEqualTo(-1);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 511, 513, 70_000, 2_097_153})
  void aRawFileThatEndsWithinASectorIsCopiedAsQemuSeesIt(int length) throws Exception {
    Path raw = folder.resolve("odd.raw");
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) 6);
    Files.write(raw, bytes);
    Path copy = folder.resolve("copy.qcow2");

    convert(raw, "raw", c -> c, copy, CreateOptions.of("qcow2", 0));

    assertThat(Qemu.img("compare", "-f", "qcow2", "-F", "raw", copy, raw))
        .isEqualTo("Images are identical.\n");
    assertThat(Files.size(raw)).isEqualTo(length);
  }

  /** One look at each cluster, L2 table or even megabyte of it would take for ever. */
  @Test
  void aHugeEmptyDiskIsCopiedWithoutLookingAtEachPart() throws Exception {
    Path empty = folder.resolve("empty.qcow2");
    Path copy = folder.resolve("copy.qcow2");
    Images.create(empty, CreateOptions.of("qcow2", 1L << 49).clusterSize(2 << 20));

    convert(empty, "qcow2", c -> c, copy, CreateOptions.of("qcow2", 0).clusterSize(2 << 20));

    Qemu.check(copy).clean();
    assertThat(Images.inspect(copy).virtualSize()).isEqualTo(1L << 49);
  }

  @Test
  void aChainIsFlattened() throws Exception {
    Path top = chain();

    convert(top, "qcow2", c -> c, folder.resolve("flat.qcow2"), CreateOptions.of("qcow2", 0));

    Qemu.check(folder.resolve("flat.qcow2")).clean();
    Qemu.img("compare", top, folder.resolve("flat.qcow2"));
    assertThat(Qemu.img("info", folder.resolve("flat.qcow2"))).doesNotContain("backing file");
  }

  @ParameterizedTest
  @CsvSource({"65536, 3", "4096, 3", "2097152, 3", "65536, 2"})
  void withABackingFileOnlyTheTopLayerIsCopied(int clusterSize, int version) throws Exception {
    Path top = chain();
    Path copy = folder.resolve("copy.qcow2");
    var options =
        CreateOptions.of("qcow2", 0)
            .clusterSize(clusterSize)
            .version(version)
            .backing("mid.qcow2", "qcow2");

    convert(
        top, "qcow2", c -> c.keepBacking(true).references(References.sameFolder()), copy, options);

    Qemu.check(copy).clean();
    Qemu.img("compare", top, copy);
    if (clusterSize <= 65536) {
      assertThat(Files.size(copy)).isLessThan(2 << 20);
    }
  }

  /** 4 MiB of base, changed in the middle, changed and zeroed in places at the top; 5 MiB long. */
  private Path chain() throws Exception {
    Path base = Disks.raw(folder.resolve("base.raw"), Disks.random(11, 4 << 20));
    Path mid = folder.resolve("mid.qcow2");
    Path top = folder.resolve("top.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", mid, 4 << 20);
    Qemu.io(mid, List.of("write -P 1 64k 200k", "write -z 1M 64k"));
    Qemu.img("create", "-q", "-f", "qcow2", "-b", mid, "-F", "qcow2", top, 5 << 20);
    Qemu.io(
        top,
        List.of(
            "write -P 2 100k 4k", "write -z 2M 128k", "write -z -u 3M 64k", "write -P 3 4500k 7k"));
    return top;
  }

  @Test
  void aTargetWithABackingFileNeedsReferencesToIt() throws Exception {
    Path top = chain();
    Path copy = folder.resolve("copy.qcow2");
    var options = CreateOptions.of("qcow2", 0).backing("mid.qcow2", "qcow2");

    assertThatThrownBy(() -> convert(top, "qcow2", c -> c.keepBacking(true), copy, options))
        .hasMessageContaining("no references are allowed");
    assertThat(copy).doesNotExist();
  }

  @Test
  void zeroesOfTheSourceHideTheTargetsBackingFile() throws Exception {
    byte[] base = new byte[1 << 20];
    Arrays.fill(base, (byte) 9);
    Disks.raw(folder.resolve("base.raw"), base);
    Path alone = folder.resolve("alone.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", alone, 1 << 20);
    Qemu.io(alone, List.of("write -P 1 0 64k"));
    var options = CreateOptions.of("qcow2", 0).backing("base.raw", "raw");
    Path copy = folder.resolve("copy.qcow2");

    convert(
        alone,
        "qcow2",
        c -> c.keepBacking(true).references(References.sameFolder()),
        copy,
        options);

    Qemu.img("compare", alone, copy);
  }

  @Test
  void sourcesFollowOneAnotherAtOddPlaces() throws Exception {
    byte[] a = Disks.random(1, 3 * 512);
    byte[] b = Disks.random(2, (2 << 20) + 512);
    byte[] c = new byte[70_000 / 512 * 512];
    byte[] d = Disks.random(3, 1 << 20);
    Path target = folder.resolve("all.qcow2");
    try (Image ia = Disks.memory(a);
        Image ib = Disks.memory(b);
        Image ic = Disks.memory(c);
        Image id = Disks.memory(d)) {
      Convert.from(ia, ib, ic, id).parallelism(3).to(target, CreateOptions.of("qcow2", 0));
    }

    ByteBuffer all = ByteBuffer.allocate(a.length + b.length + c.length + d.length);
    all.put(a).put(b).put(c).put(d);
    assertThat(Disks.read(target)).isEqualTo(all.array());
    Qemu.check(target).clean();
  }

  @Test
  void holesAndZeroesBecomeHolesAndWithSparseSizeZeroNeither() throws Exception {
    byte[] bytes = new byte[4 << 20];
    bytes[0] = 1;
    bytes[3 << 20] = 1;
    Path raw = Disks.raw(folder.resolve("a.raw"), bytes);
    Path sparse = folder.resolve("sparse.qcow2");
    Path full = folder.resolve("full.qcow2");

    convert(raw, "raw", c -> c, sparse, CreateOptions.of("qcow2", 0));
    convert(raw, "raw", c -> c.sparseSize(0), full, CreateOptions.of("qcow2", 0));
    convert(sparse, "qcow2", c -> c.sparseSize(0), folder.resolve("r"), CreateOptions.of("raw", 0));

    assertThat(allocated(sparse)).isEqualTo(2 * 65536);
    assertThat(allocated(full)).isEqualTo(4 << 20);
    assertThat(allocated(folder.resolve("r"))).isEqualTo(4 << 20);
  }

  /**
   * The chunks of several threads used to lie in the file as the threads happened to write them.
   */
  @Test
  void aCopyLiesInItsFileInTheOrderOfTheDisk() throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), Disks.random(11, 24 << 20));
    Path qcow2 = folder.resolve("b.qcow2");

    convert(raw, "raw", c -> c.parallelism(8), qcow2, CreateOptions.of("qcow2", 0));

    try (Image image = Images.openReadOnly(qcow2, References.deny())) {
      assertThat(
              image
                  .extents(0, image.size())
                  .map(Extent::mapping)
                  .filter(Mapping.Data.class::isInstance)
                  .map(mapping -> ((Mapping.Data) mapping).hostOffset()))
          .isSorted();
    }
  }

  private static long allocated(Path file) throws IOException {
    try (Image image = Images.openReadOnly(file, References.deny())) {
      return image
          .extents(0, image.size())
          .filter(e -> e.mapping() instanceof Mapping.Data)
          .mapToLong(e -> e.length())
          .sum();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"raw", "qcow2"})
  void whatAnExistingTargetHeldIsOverwrittenZeroesIncluded(String format) throws Exception {
    byte[] bytes = Disks.random(4, SIZE);
    byte[] old = new byte[SIZE + (1 << 20)];
    Arrays.fill(old, (byte) 5);
    try (Image source = Disks.memory(bytes);
        Image target = Disks.created(folder.resolve("t"), CreateOptions.of(format, old.length))) {
      target.write(ByteBuffer.wrap(old), 0);
      Convert.from(source).to(target);
      byte[] found = Disks.read(target);
      assertThat(Arrays.copyOf(found, SIZE)).isEqualTo(bytes);
      assertThat(Arrays.copyOfRange(found, SIZE, found.length))
          .isEqualTo(Arrays.copyOfRange(old, SIZE, old.length));
    }
  }

  @Test
  void aTargetSaidToBeZeroGetsNoZeroes() throws Exception {
    byte[] old = new byte[1 << 20];
    Arrays.fill(old, (byte) 5);
    byte[] bytes = new byte[1 << 20];
    bytes[0] = 1;
    try (Image source = Disks.memory(bytes);
        Image target = Disks.memory(old)) {
      Convert.from(source).targetIsZero(true).to(target);
      byte[] found = Disks.read(target);
      assertThat(found[0]).isEqualTo((byte) 1);
      assertThat(found[1 << 19]).isEqualTo((byte) 5);
    }
  }

  @Test
  void aTargetThatIsTooSmallIsLeftAlone() throws Exception {
    try (Image source = Disks.memory(new byte[1024]);
        Image target = Disks.memory(new byte[512])) {
      assertThatThrownBy(() -> Convert.from(source).to(target))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("memory has 512 bytes, the sources have 1024");
      Path file = folder.resolve("small");
      assertThatThrownBy(() -> Convert.from(source).to(file, CreateOptions.of("raw", 512)))
          .isInstanceOf(IllegalArgumentException.class);
      assertThat(file).doesNotExist();
    }
  }

  @Test
  void progressNeverGoesBackAndEndsComplete() throws Exception {
    List<Long> told = new ArrayList<>();
    try (Image source = Disks.memory(Disks.random(9, SIZE))) {
      Convert.from(source)
          .parallelism(3)
          .sync(SyncMode.NONE)
          .progress(
              (done, total) -> {
                assertThat(total).isEqualTo(SIZE);
                told.add(done);
              })
          .to(folder.resolve("t.raw"), CreateOptions.of("raw", 0));
    }
    assertThat(told).isSorted().startsWith(0L).endsWith((long) SIZE);
  }

  private interface With {
    Convert options(Convert convert);
  }

  private static void convert(Path from, String format, With with, Path to, CreateOptions options)
      throws IOException {
    try (Image source = Images.open(from, OpenOptions.of(References.sameFolder()).format(format))) {
      with.options(Convert.from(source)).to(to, options);
    }
  }

  /** Ranges of any alignment, into new images and old ones, with and without zeroes as data. */
  @Test
  void aPartOfADiskIsCopiedToTheBeginning() throws Exception {
    byte[] bytes = Disks.random(11, SIZE);
    Path raw = Disks.raw(folder.resolve("a.raw"), bytes);
    Path copy = folder.resolve("b.qcow2");
    var random = new SplittableRandom(11);
    for (int run = 0; run < 12; run++) {
      int from = random.nextInt(SIZE);
      int length = run == 0 ? 0 : random.nextInt(SIZE - from);
      int sparse = random.nextBoolean() ? 0 : 4096;
      long end = (length + 511L) / 512 * 512;
      try (Image source = Images.open(raw, OpenOptions.of(References.deny()).format("raw"))) {
        Convert convert = Convert.from(source).range(from, length).sparseSize(sparse);
        convert.to(copy, CreateOptions.of("qcow2", 0));
      }
      byte[] expected = Arrays.copyOf(Arrays.copyOfRange(bytes, from, from + length), (int) end);
      assertThat(Disks.read(copy)).as("%d + %d", from, length).isEqualTo(expected);
    }
    Qemu.check(copy).clean();
  }

  @Test
  void aPartIsOneOfOneSource() throws Exception {
    Path raw = Disks.raw(folder.resolve("a.raw"), new byte[1024]);
    try (Image source = Images.open(raw, OpenOptions.of(References.deny()).format("raw"))) {
      assertThatThrownBy(() -> Convert.from(source, source).range(0, 512))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> Convert.from(source).range(512, 513))
          .isInstanceOf(IndexOutOfBoundsException.class);
    }
  }
}
