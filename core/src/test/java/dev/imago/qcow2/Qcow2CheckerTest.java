package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.CheckResult;
import dev.imago.image.Progress;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every finding is compared with what {@code qemu-img check} says, word by word where it agrees.
 */
class Qcow2CheckerTest {
  /** Places in a fresh image with clusters of 64 KiB. */
  private static final long L1 = 0x30000;

  private static final long L2 = 0x40000;

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "L1 entry with reserved bits, 30000, 8000000000040001",
    "L1 entry with high reserved bits, 30000, 8100000000040000",
    "L2 table beyond the end, 30000, 8000000010000000",
    "L1 entry without COPIED, 30000, 0000000000040000",
    "no L2 table, 30000, 0000000000000000",
    "L2 entry without COPIED, 40000, 0000000000050000",
    "L2 entry with reserved bits, 40000, 8000000000050002",
    "unaligned data, 40000, 8000000000050200",
    "unaligned data beyond the end, 40000, 80000000000a0200",
    "unaligned preallocated cluster, 40000, 8000000000050201",
    "data beyond the end, 40000, 8000000010000000",
    "data cluster used twice, 40000, 8000000000060000",
    "data in the refcount table, 40000, 8000000000010000",
    "data in the L1 table, 40000, 8000000000030000",
    "COPIED without offset, 40000, 8000000000000000",
    "compressed cluster with COPIED, 40000, c000000000050000",
    "compressed cluster, 40000, 4000000000050000",
    "compressed cluster beyond the end, 40000, 4000000010000000",
    "leaked data, 40000, 0000000000000000",
    "count of 0, 20008, 0001000000010000",
    "count of 2 for data, 20008, 0001000200010000",
    "count of 2 for an L2 table, 20008, 0002000100010000",
    "counts behind the end of the file, 20010, 0000000700000000",
    "no refcount block, 10000, 0000000000000000",
    "refcount block beyond the end, 10000, 0000000020000000",
    "refcount table entry with reserved bits, 10000, 0000000000020001",
    "refcount block used twice, 10008, 0000000000020000",
    "refcount block in data, 10008, 0000000000060000",
    "no refcount table, 38, 0000000000000000"
  })
  void damageIsToldInQemusWords(String what, String at, String word) throws Exception {
    Path image = image("");
    poke(image, Long.parseLong(at, 16), word);

    sameAsQemu(image);
  }

  @ParameterizedTest
  @CsvSource({
    "no COPIED, 40010, 0000000000020000",
    "unaligned, 40000, 8000000000000200",
    "compressed, 40000, 4000000000050000",
    "beyond the end of the data file, 40000, 8000000080000000",
    "used twice, 40000, 8000000000020000",
    "not allocated, 40000, 0000000000000000"
  })
  void entriesForAnExternalDataFileAreJudged(String what, String at, String word) throws Exception {
    Path image = image("data_file=" + folder.resolve("data"));
    sameAsQemu(image);
    poke(image, Long.parseLong(at, 16), word);

    sameAsQemu(image);
  }

  @ParameterizedTest
  @CsvSource({
    "bits that contradict each other, 40008, ffffffffffffffff",
    "data without a cluster, 40018, 0000000000000001",
    "compressed with a bitmap, 40000, 4000000000050000",
    "leaked data, 40000, 0000000000000000",
    "no COPIED, 40000, 0000000000050000"
  })
  void extendedL2EntriesAreJudged(String what, String at, String word) throws Exception {
    Path image = image("extended_l2=on");
    sameAsQemu(image);
    poke(image, Long.parseLong(at, 16), word);

    sameAsQemu(image);
  }

  @ParameterizedTest
  @CsvSource({
    "nothing, 0, ",
    "L1 table unaligned, 80000, 0000000000070200",
    "L1 table too large, 80008, 0040000100010002",
    "L1 table beyond the end, 80000, 0000000070000000",
    "too little extra data, 80024, 00000008",
    "entries of nothing, 3c, 00000005",
    "COPIED in a shared L1 entry, 30000, 8000000000040000",
    "COPIED in a shared L2 entry, 40000, 8000000000050000",
    "a missing L1 entry, 70000, 0000000000000000"
  })
  void snapshotsAreFollowed(String what, String at, String bytes) throws Exception {
    Path image = image("");
    Qemu.img("snapshot", "-c", "s0", image);
    if (bytes != null) {
      poke(image, Long.parseLong(at, 16), bytes);
    }

    sameAsQemu(image);
  }

  /** The end of the table passed 2^63: the check ended with an exception. */
  @Test
  void aSnapshotsTableAtTheEndOfAllNumbersIsAFinding() throws Exception {
    Path image = image("");
    Qemu.img("snapshot", "-c", "s0", image);
    poke(image, 0x80000, "7fffffffffff000000400000");

    try (FileStorage storage = FileStorage.open(image, FileStorage.Options.readOnly())) {
      assertThat(Qcow2.check(storage, Progress.NONE).corruptions()).isPositive();
    }
  }

  @Test
  void snapshotsThatShareEverythingAreCountedAsOftenAsThereAreSome() throws Exception {
    Path image = image("cluster_size=4096");
    for (int i = 0; i < 9; i++) {
      Qemu.img("snapshot", "-c", "s" + i, image);
      Qemu.io(image, List.of("write -P %d %dk 4k".formatted(i, 12 * i)));
    }
    sameAsQemu(image);
    Qemu.img("snapshot", "-d", "s3", image);
    sameAsQemu(image);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "cluster_size=512,refcount_bits=1",
        "cluster_size=4096,refcount_bits=2",
        "cluster_size=65536,refcount_bits=4",
        "cluster_size=2M,refcount_bits=8",
        "cluster_size=1024,refcount_bits=32",
        "cluster_size=512,refcount_bits=64",
        "cluster_size=512,compat=v2",
        "cluster_size=65536,lazy_refcounts=on",
        "preallocation=metadata,cluster_size=1024"
      })
  void healthyImagesOfAllShapesAreClean(String options) throws Exception {
    Path image = image(options);
    assertThat(sameAsQemu(image).clean()).isTrue();
    if (!options.contains("2M") && !options.contains("preallocation")) {
      Qemu.io(image, List.of("write -c -P 3 1M 64k", "write -c -P 4 1088k 64k"));
    }
    Qemu.io(image, List.of("discard 0 1M"));
    assertThat(sameAsQemu(image).clean()).isTrue();
  }

  @Test
  void compressedClustersThatShareAHostClusterAreCountedEach() throws Exception {
    Path raw = folder.resolve("raw");
    byte[] bytes = new byte[3 << 20];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) (i * 7919 >>> 11);
    }
    Files.write(raw, bytes);
    for (String type : List.of("zlib", "zstd")) {
      Path image = folder.resolve(type);
      Qemu.img(
          "convert",
          "-c",
          "-O",
          "qcow2",
          "-o",
          "compression_type=" + type,
          "-f",
          "raw",
          raw,
          image);
      assertThat(sameAsQemu(image).compressedClusters()).isEqualTo(48);
    }
  }

  @Test
  void bitmapsAreCounted() throws Exception {
    Path image = image("");
    Qemu.img("bitmap", "--add", image, "b0");
    Qemu.img("bitmap", "--add", "-g", "4k", image, "b1");
    Qemu.io(image, List.of("write 1M 64k"));

    assertThat(sameAsQemu(image).clean()).isTrue();
  }

  @Test
  void anEncryptedImageIsCheckedWithoutItsKey() throws Exception {
    Path image = image("");
    poke(image, 0x20, "00000002");
    poke(image, 0x70, "0537be77" + "00000010" + "0000000000070000" + "000000000001f000");
    poke(image, 0x88, "0000000000000000");
    assertThat(check(image).findings())
        .containsExactly(
            "ERROR: counting reference for region exceeding the end of the file by one cluster or"
                + " more: offset 0x70000 size 0x1f000");

    poke(image, 0x8f000 - 8, "0000000000000000");
    assertThat(check(image).findings())
        .containsExactly(
            "ERROR cluster 7 refcount=0 reference=1", "ERROR cluster 8 refcount=0 reference=1");

    poke(image, 0x20008, "0001000100010001" + "0001000000000000");
    assertThat(check(image).clean()).isTrue();
  }

  @Test
  void aZeroFlagInVersion2IsCorruptThoughQemusCheckDoesNotSee() throws Exception {
    Path image = image("compat=v2");
    poke(image, L2 + 8, "0000000000000001");

    assertThat(check(image).findings())
        .containsExactly("ERROR: Zero cluster entry found in pre-v3 image: l2_entry=1");
  }

  @Test
  void dataInMetadataIsFoundEvenIfTheCountsAgree() throws Exception {
    Path image = image("");
    poke(image, L2, "0000000000040000");
    poke(image, 0x20008, "0002000000010000");
    poke(image, L1, "0000000000040000");

    assertThat(check(image).findings())
        .containsExactly("ERROR cluster 4 holds metadata, but something else refers to it too");
  }

  @Test
  void anUnalignedL2TableIsNotFollowed() throws Exception {
    Path image = image("");
    poke(image, L1, "8000000000040200");

    CheckResult result = check(image);

    assertThat(result.findings().getFirst())
        .isEqualTo("ERROR l2_offset=40200: Table is not cluster aligned; L1 entry corrupted");
    assertThat(result.leaks()).isEqualTo(3);
    assertThat(result.allocatedClusters()).isZero();
  }

  @Test
  void anUnreadableRefcountBlockIsNoCleanBillOfHealth() throws Exception {
    Path image = image("");
    poke(image, 0x10000, "0000000000020200");

    CheckResult result = check(image);

    assertThat(result.findings())
        .contains(
            "ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted",
            "Can't get refcounts for clusters 0 to 6");
    assertThat(result.checkErrors()).isEqualTo(1);
  }

  @Test
  void tooMuchSnapshotExtraDataIsAnErrorOfTheCheck() throws Exception {
    Path image = image("");
    Qemu.img("snapshot", "-c", "s0", image);
    poke(image, 0x80024, "00000800");

    CheckResult result = check(image);

    assertThat(result.checkErrors()).isEqualTo(1);
    assertThat(result.findings().getFirst())
        .isEqualTo("ERROR failed to read the snapshot table: entry 0: 2048; at most 1024");
  }

  @Test
  void aCountThatDoesNotFitItsWidthIsAnOverflow() throws Exception {
    Path image = image("refcount_bits=1");
    poke(image, L2, "8000000000060000");

    assertThat(check(image).findings())
        .contains(
            "ERROR: overflow cluster offset=0x60000", "Leaked cluster 5 refcount=1 reference=0");
  }

  /** 4 MiB with data at 0 and 128 KiB and a zeroed part. */
  private Path image(String options) throws IOException, InterruptedException {
    Path image = folder.resolve("image");
    Files.deleteIfExists(image);
    Files.deleteIfExists(folder.resolve("data"));
    if (options.isEmpty()) {
      Qemu.img("create", "-q", "-f", "qcow2", image, "4M");
    } else {
      Qemu.img("create", "-q", "-f", "qcow2", "-o", options, image, "4M");
    }
    Qemu.io(image, List.of("write -P 1 0 64k", "write -P 2 128k 64k"));
    if (!options.contains("v2")) {
      Qemu.io(image, List.of("write -z 256k 64k"));
    }
    return image;
  }

  private CheckResult sameAsQemu(Path image) throws IOException, InterruptedException {
    CheckResult ours = check(image);
    Tool.Outcome theirs = Tool.run("qemu-img", "check", "-f", "qcow2", "--output=json", image);
    assertThat(ours.findings().stream().sorted().toList())
        .as("ours, compared with QEMU's")
        .isEqualTo(theirs.err().lines().sorted().toList());
    int status = ours.corruptions() > 0 ? 2 : ours.leaks() > 0 ? 3 : 0;
    assertThat(status).isEqualTo(theirs.status());
    assertThat(theirs.out())
        .contains(
            "\"total-clusters\": " + ours.totalClusters(),
            "\"image-end-offset\": " + ours.imageEndOffset());
    for (List<String> numbers :
        List.of(
            number(ours.corruptions(), "corruptions"),
            number(ours.leaks(), "leaks"),
            number(ours.allocatedClusters(), "allocated-clusters"),
            number(ours.fragmentedClusters(), "fragmented-clusters"),
            number(ours.compressedClusters(), "compressed-clusters"))) {
      assertThat(theirs.out().lines().map(line -> line.replace(",", ""))).containsAll(numbers);
    }
    return ours;
  }

  private static List<String> number(long value, String name) {
    return value == 0 ? List.of() : List.of("    \"%s\": %d".formatted(name, value));
  }

  private static CheckResult check(Path image) throws IOException {
    byte[] before = Files.readAllBytes(image);
    try (Storage storage = FileStorage.open(image, FileStorage.Options.readOnly())) {
      CheckResult result = Qcow2.check(storage, Progress.NONE);
      assertThat(Files.readAllBytes(image)).isEqualTo(before);
      return result;
    }
  }

  private static void poke(Path image, long at, String hex) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(at);
      file.write(java.util.HexFormat.of().parseHex(hex));
    }
  }
}
