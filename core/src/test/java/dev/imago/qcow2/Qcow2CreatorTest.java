package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.qcow2.Qcow2CreateOptions.Preallocation;
import dev.imago.storage.FileStorage;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class Qcow2CreatorTest {
  private static final long MIB = 1 << 20;

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "1048576, 65536, 3, 16, false, zlib",
    "0, 65536, 3, 16, false, zlib",
    "1048576, 65536, 2, 16, false, zlib",
    "10737418240, 65536, 3, 16, true, zlib",
    "1048576, 512, 3, 16, false, zlib",
    "1048576, 4096, 2, 16, false, zlib",
    "1048576, 4096, 3, 1, false, zstd",
    "1048576, 2097152, 3, 64, true, zstd",
    "1000000, 8192, 3, 8, false, zlib",
    "5000, 1024, 3, 32, false, zlib"
  })
  void smallImagesAreTheSameByteForByteAsQemus(
      long size, int clusterSize, int version, int refcountBits, boolean lazy, String compression)
      throws Exception {
    Path theirs = folder.resolve("theirs");
    String options =
        "cluster_size=%d,compat=v%d,refcount_bits=%d,lazy_refcounts=%s,compression_type=%s"
            .formatted(clusterSize, version, refcountBits, lazy ? "on" : "off", compression);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, theirs, size);

    Path ours =
        create(
            Qcow2CreateOptions.ofSize(size)
                .withClusterSize(clusterSize)
                .withVersion(version, refcountBits)
                .withLazyRefcounts(lazy)
                .withCompressionType(compression),
            null);

    assertThat(ours).hasSameBinaryContentAs(theirs);
  }

  @Test
  void anOverlayIsTheSameByteForByteAsQemus() throws Exception {
    Path theirs = folder.resolve("theirs");
    Qemu.img("create", "-q", "-f", "qcow2", "-u", "-b", "a/b.img", "-F", "raw", theirs, MIB);

    Path ours = create(Qcow2CreateOptions.ofSize(MIB).withBacking("a/b.img", "raw"), null);

    assertThat(ours).hasSameBinaryContentAs(theirs);
  }

  @ParameterizedTest
  @ValueSource(ints = {9, 10, 12, 13, 16, 18, 21})
  void everyCombinationPassesQemusCheck(int clusterBits) throws Exception {
    for (int order = 0; order <= 6; order++) {
      for (Preallocation preallocation : Preallocation.values()) {
        // One kind for each width; all of them in the long run.
        if (Boolean.getBoolean("imago.long")
            || preallocation.ordinal() == (order + clusterBits) % 4) {
          long size = order % 2 == 0 ? 512 : 3 * MIB + 512;
          Path image =
              create(
                  Qcow2CreateOptions.ofSize(size)
                      .withClusterSize(1 << clusterBits)
                      .withVersion(order == 4 ? 2 : 3, 1 << order)
                      .withPreallocation(preallocation),
                  null);
          Qemu.check(image).clean();
          assertThat(Qemu.read(image, folder.resolve("raw"))).containsOnly(0).hasSize((int) size);
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "9, 4, 137438953472, OFF",
    "9, 6, 137438953472, OFF",
    "16, 4, 2251799813685248, OFF",
    "21, 0, 2305843009213693952, OFF",
    "21, 6, 2305843009213693952, OFF",
    "9, 4, 33554432, METADATA",
    "9, 6, 33554432, METADATA",
    "12, 6, 1073741824, METADATA",
    "16, 4, 137438953472, METADATA"
  })
  void hugeDisksNeedTablesOfManyClusters(
      int clusterBits, int order, long size, Preallocation preallocation) throws Exception {
    Path image =
        create(
            Qcow2CreateOptions.ofSize(size)
                .withClusterSize(1 << clusterBits)
                .withVersion(3, 1 << order)
                .withPreallocation(preallocation),
            null);

    Qemu.check(image).clean();
  }

  @Test
  void preallocatedDisksOwnTheirSpace() throws Exception {
    Qcow2CreateOptions options = Qcow2CreateOptions.ofSize(8 * MIB);
    Path hole = create(options.withPreallocation(Preallocation.METADATA), null);
    assertThat(allocated(hole)).isLessThan(2 * MIB);
    assertThat(Qemu.img("map", "--output=json", hole)).contains("\"present\": true");

    assertThat(allocated(create(options.withPreallocation(Preallocation.FALLOC), null)))
        .isGreaterThanOrEqualTo(8 * MIB);
    assertThat(allocated(create(options.withPreallocation(Preallocation.FULL), null)))
        .isGreaterThanOrEqualTo(8 * MIB);
  }

  @ParameterizedTest
  @CsvSource({
    "false, OFF",
    "true, OFF",
    "false, METADATA",
    "true, METADATA",
    "false, FALLOC",
    "true, FULL"
  })
  void guestDataCanBeKeptApart(boolean raw, Preallocation preallocation) throws Exception {
    Path data = folder.resolve("data");
    Files.write(data, filled(2 * MIB, 7));
    Path image =
        create(
            Qcow2CreateOptions.ofSize(3 * MIB)
                .withDataFile(data.toString(), raw)
                .withPreallocation(preallocation),
            data);

    Qemu.check(image).clean();
    assertThat(Qemu.read(image, folder.resolve("raw"))).containsOnly(0).hasSize((int) (3 * MIB));
    assertThat(Qemu.img("info", image))
        .contains("data file: " + data)
        .contains("data file raw: " + raw);
    assertThat(Files.size(data)).isEqualTo(3 * MIB);
    Qemu.io(image, List.of("write -P 5 1M 64k"));
    Qemu.check(image).clean();
  }

  @Test
  void whatWasInTheStorageBeforeIsNotSeen() throws Exception {
    for (Preallocation preallocation : Preallocation.values()) {
      Path image = folder.resolve("old");
      Files.write(image, filled(5 * MIB, 0xff));
      try (Storage storage = FileStorage.open(image, FileStorage.Options.readWrite())) {
        Qcow2CreateOptions options =
            Qcow2CreateOptions.ofSize(4 * MIB).withPreallocation(preallocation);
        Qcow2.create(storage, options, null);
      }

      Qemu.check(image).withoutErrors();
      assertThat(Qemu.read(image, folder.resolve("raw"))).containsOnly(0);
    }
  }

  @Test
  void aCrashLeavesAWholeImageOrNone() throws Exception {
    Qcow2CreateOptions options =
        Qcow2CreateOptions.ofSize(MIB).withBacking("x".repeat(800), "raw").withClusterSize(4096);
    MemoryStorage whole = new MemoryStorage("whole");
    Qcow2.create(whole, options, null);
    byte[] expected = bytes(whole, (int) whole.size());
    CrashGroup group = new CrashGroup();
    CrashStorage disk = group.storage("disk");
    disk.write(ByteBuffer.wrap(expected), 0);
    disk.write(ByteBuffer.wrap(filled(1900, 0xee)), 112);
    disk.write(ByteBuffer.wrap(filled(3 * 4096, 0xee)), 4096);
    disk.flush();
    byte[] old = bytes(disk, expected.length);
    Random random = new Random(1);
    int[] wholeOnes = {0};
    group.onCall(
        moment -> {
          for (CrashGroup.Bias bias : CrashGroup.Bias.values()) {
            byte[] left = crashed(group, random, bias, expected.length);
            boolean broken = left[0] == 'Q' && !Arrays.equals(left, old);
            if (Arrays.equals(left, expected)) {
              wholeOnes[0]++;
            } else if (broken) {
              throw new AssertionError("%s, %s: half an image".formatted(moment, bias));
            }
          }
        });

    Qcow2.create(disk, options, null);

    assertThat(wholeOnes[0]).isPositive();
    assertThat(bytes(disk, expected.length)).isEqualTo(expected);
  }

  @Test
  void whatContradictsItselfIsRefusedInQemusWords() {
    Qcow2CreateOptions o = Qcow2CreateOptions.ofSize(MIB);
    refused(o.withClusterSize(256), "Cluster size must be a power of two between 512 and 2048k");
    refused(
        o.withClusterSize(4 << 20), "Cluster size must be a power of two between 512 and 2048k");
    refused(o.withClusterSize(3000), "Cluster size must be a power of two between 512 and 2048k");
    refused(o.withVersion(4, 16), "Parameter 'version' does not accept value '4'");
    refused(
        o.withVersion(2, 16).withLazyRefcounts(true),
        "Lazy refcounts only supported with compatibility level 1.1 and above"
            + " (use version=v3 or greater)");
    refused(
        o.withVersion(2, 8),
        "Different refcount widths than 16 bits require compatibility level 1.1 or above"
            + " (use version=v3 or greater)");
    refused(
        o.withVersion(3, 3), "Refcount width must be a power of two and may not exceed 64 bits");
    refused(
        o.withVersion(3, 128), "Refcount width must be a power of two and may not exceed 64 bits");
    refused(
        o.withCompressionType("lz4"), "Parameter 'compression-type' does not accept value 'lz4'");
    refused(
        o.withVersion(2, 16).withCompressionType("zstd"),
        "Non-zlib compression type is only supported with compatibility level 1.1 and above"
            + " (use version=v3 or greater)");
    refused(o.withDataFile(null, true), "data-file-raw requires data-file");
    refused(
        o.withDataFile("d", true).withBacking("b", "raw"),
        "Backing file and data-file-raw cannot be used at the same time");
    refused(
        o.withBacking("b", "raw").withPreallocation(Preallocation.METADATA),
        "Backing file and preallocation can only be used at the same time if extended_l2 is on");
    refused(
        o.withVersion(2, 16).withDataFile("d", false),
        "External data files are only supported with compatibility level 1.1 and above"
            + " (use version=v3 or greater)");
    String tooLarge =
        "The image size is too large for file format 'qcow2' (try using a larger cluster size)";
    refused(Qcow2CreateOptions.ofSize((2L << 50) + 1), tooLarge);
    refused(Qcow2CreateOptions.ofSize(Long.MAX_VALUE), tooLarge);
    refused(Qcow2CreateOptions.ofSize(-1), tooLarge);
    refused(Qcow2CreateOptions.ofSize((128L << 30) + 1).withClusterSize(512), tooLarge);
    refused(
        Qcow2CreateOptions.ofSize(2L << 60)
            .withClusterSize(2 << 20)
            .withPreallocation(Preallocation.METADATA),
        tooLarge);
    refused(o.withBacking(null, "raw"), "Backing format cannot be used without backing file");
    refused(
        o.withClusterSize(512).withBacking("x".repeat(377), "raw"),
        "No space left in the file header");
    refused(o.withBacking("x".repeat(1024), "raw"), "Backing file name too long");
  }

  private static void refused(Qcow2CreateOptions options, String message) {
    MemoryStorage storage = new MemoryStorage("image");
    MemoryStorage data = options.dataFile() == null ? null : new MemoryStorage("data");
    assertThatThrownBy(() -> Qcow2.create(storage, options, data))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message);
    assertThat(storage.size()).isZero();
  }

  @Test
  void theLongestBackingNameFitsIntoTheSmallestCluster() throws Exception {
    String name = "x".repeat(376);

    Path image =
        create(Qcow2CreateOptions.ofSize(MIB).withClusterSize(512).withBacking(name, "raw"), null);

    assertThat(Qemu.img("info", "-U", image)).contains("backing file: " + name);
  }

  private Path create(Qcow2CreateOptions options, Path data) throws IOException {
    Path image = folder.resolve("image");
    Files.deleteIfExists(image);
    try (Storage storage = FileStorage.create(image, FileStorage.Options.readWrite())) {
      if (data == null) {
        Qcow2.create(storage, options, null);
      } else {
        try (Storage dataFile = FileStorage.open(data, FileStorage.Options.readWrite())) {
          Qcow2.create(storage, options, dataFile);
        }
      }
    }
    return image;
  }

  private static long allocated(Path file) throws IOException {
    try (Storage storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      return storage.allocatedBytes();
    }
  }

  private static byte[] bytes(Storage storage, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    storage.read(bytes, 0);
    return bytes.array();
  }

  private static byte[] crashed(CrashGroup group, Random random, CrashGroup.Bias bias, int length) {
    try {
      CrashImage left = group.crash(random, bias).get("disk");
      return bytes(new CrashGroup().storage("left", left), length);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static byte[] filled(long length, int value) {
    byte[] bytes = new byte[(int) length];
    Arrays.fill(bytes, (byte) value);
    return bytes;
  }
}
