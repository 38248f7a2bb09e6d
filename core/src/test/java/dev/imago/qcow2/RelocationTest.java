package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.LuksOptions;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.image.Secret;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Repairs of images in which damage has led two users to one cluster. */
class RelocationTest {
  private static final int SIZE = 4 << 20;

  @TempDir Path folder;

  /**
   * Clusters of 64 KiB: 3 is the active L1 table, 4 the snapshot's L2 table, 5 and 6 its data, 7
   * its L1 table, 8 the snapshot table, 9 the active L2 table, 10 the active disk's first cluster.
   */
  private Path image() throws IOException, InterruptedException {
    Path image = folder.resolve("image");
    Qemu.img("create", "-q", "-f", "qcow2", image, SIZE);
    Qemu.io(image, List.of("write -P 0x2f 0 64k", "write -P 2 128k 64k"));
    Qemu.img("snapshot", "-c", "s0", image);
    Qemu.io(image, List.of("write -P 3 0 64k"));
    return image;
  }

  @ParameterizedTest
  @CsvSource({
    "guest data, snapshot table, 90008, 8000000000080000",
    "guest data behind the disk, snapshot table, 90a00, 8000000000080000",
    "guest data, L1 table of a snapshot, 90008, 8000000000070000",
    "guest data, active L1 table, 90008, 8000000000030000",
    "guest data behind the disk, active L1 table, 90a00, 8000000000030000",
    "guest data, L2 table of a snapshot, 90008, 8000000000040000",
    "guest data, its own L2 table, 90008, 8000000000090000",
    "a snapshot's data, active L2 table, 40008, 0000000000090000",
    "a snapshot's data, snapshot table, 40008, 0000000000080000",
    "guest data, refcount table, 90008, 8000000000010000",
    "guest data, refcount block, 90008, 8000000000020000",
    "compressed data, header, 90008, 4000000000000200",
    "a snapshot's compressed data, header, 40008, 4000000000000200"
  })
  void whatSharesAClusterWithMetadataIsParted(String one, String other, String at, String word)
      throws Exception {
    Path image = image();
    poke(image, at, word);

    RepairResult result = repair(image);

    assertThat(result.left().findings()).isEmpty();
    assertThat(result.lost()).isEmpty();
    Qemu.check(image).clean();
    Qemu.io(image, List.of("read -P 3 0 64k", "read -P 2 128k 64k", "write -P 9 64k 64k"));
    assertThat(snapshot(image, 0)).containsOnly(0x2f);
    assertThat(snapshot(image, 2)).containsOnly(2);
    Qemu.check(image).clean();
  }

  @Test
  void aSnapshotWhoseL1TableIsTheActiveOneGetsOneOfItsOwn() throws Exception {
    Path image = image();
    poke(image, "80000", "0000000000030000");

    assertThat(repair(image).left().findings()).isEmpty();

    Qemu.check(image).clean();
    Qemu.io(image, List.of("read -P 3 0 64k", "read -P 2 128k 64k", "write -P 9 0 64k"));
    assertThat(snapshot(image, 0)).containsOnly(3);
    Qemu.check(image).clean();
  }

  @Test
  void aSnapshotsDataThatAnL1EntryTakesForATableIsKept() throws Exception {
    Path image = image();
    // 0x2f in every byte: entries that QEMU makes zero, in place.
    poke(image, "30000", "8000000000050000");

    RepairResult result = repair(image);

    assertThat(result.left().findings()).isEmpty();
    Qemu.check(image).clean();
    assertThat(snapshot(image, 0)).containsOnly(0x2f);
  }

  @Test
  void lostDataThatAnL1EntryTakesForATableIsRepairedInACopy() throws Exception {
    Path image = folder.resolve("image");
    Qemu.img("create", "-q", "-f", "qcow2", image, SIZE);
    Qemu.io(image, List.of("write -P 0x2f 0 64k", "write -P 2 128k 64k"));
    poke(image, "30000", "8000000000050000");

    assertThat(repair(image).left().findings()).isEmpty();

    Qemu.check(image).clean();
    try (Storage file = FileStorage.open(image, FileStorage.Options.readOnly())) {
      var old = ByteBuffer.allocate(65536);
      file.read(old, 0x50000);
      assertThat(old.array()).containsOnly(0x2f);
    }
  }

  @Test
  void anEncryptedClusterStaysWhereItsKeyIs() throws Exception {
    Path image = encrypted();
    io(image, "write -P 1 0 64k", "write -P 2 3M 64k");
    long l1 = TestImages.word(image, 40);
    long data = offset(image, offset(image, l1));
    // The second half of the disk is led to the first half's data.
    TestImages.setWord(image, l1 + 8, data | Geometry.COPIED);

    RepairResult result = repair(image);

    // What is taken for a table there is ciphertext: most of it cannot be made an entry.
    assertThat(result.lines()).anyMatch(line -> line.contains("an L2 table has been copied"));
    io(image, "read -P 1 0 64k");
  }

  @Test
  void encryptedClustersThatShareAPlaceGoOnSharingIt() throws Exception {
    Path image = encrypted();
    io(image, "write -P 1 0 64k");
    long l2 = offset(image, TestImages.word(image, 40));
    TestImages.setWord(image, l2 + 64 * 8, TestImages.word(image, l2));
    TestImages.setWord(image, l2 + 65 * 8, l2 | Geometry.COPIED);

    RepairResult result = repair(image);

    assertThat(result.left().findings()).isEmpty();
    Qemu.check(image, "geheim").clean();
    io(image, "read -P 1 0 64k", "read -P 1 256k 4k", "write -P 5 256k 4k", "read -P 1 0 64k");
  }

  @ParameterizedTest
  @CsvSource({"1, 2", "2, 5", "4, 17", "8, 300"})
  void countsTooNarrowForAllReferencesAreMadeWider(int bits, int references) throws Exception {
    Path image = folder.resolve("image");
    String options = "refcount_bits=%d,cluster_size=4096".formatted(bits);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, image, SIZE);
    Qemu.io(image, List.of("write -P 7 0 4k", "write -P 2 1600k 4k"));
    long l2 = offset(image, TestImages.word(image, 40));
    for (int i = 1; i < references; i++) {
      TestImages.setWord(image, l2 + i * 8, TestImages.word(image, l2));
    }

    RepairResult result = repair(image);

    assertThat(result.left().findings()).isEmpty();
    assertThat(result.lines())
        .anyMatch(line -> line.contains("refcounts of %d bits".formatted(bits)));
    Qemu.check(image).clean();
    int kib = 4 * references;
    Qemu.io(image, List.of("read -P 7 0 %dk".formatted(kib), "write -P 1 0 4k", "discard 4k 4k"));
    Qemu.io(image, List.of("read -P 1 0 4k", "read -P 0 4k 4k", "read -P 2 1600k 4k"));
    Qemu.check(image).clean();
  }

  @Test
  void aFileThatWasCutOffIsMadeWholeAndWhatIsLostIsTold() throws Exception {
    Path image = folder.resolve("image");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", image, SIZE);
    Qemu.io(image, List.of("write -P 1 0 1M"));
    TestImages.setWord(image, 0x1000, 0);
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(file.length() - (512 << 10));
    }

    RepairResult result = repair(image);

    assertThat(result.left().findings()).isEmpty();
    Qemu.check(image).clean();
    Qemu.io(image, List.of("read -P 1 0 512k", "read -P 0 512k 512k"));
    assertThat(result.lost()).hasSize(128);
    assertThat(result.lost().getFirst().guestOffset()).isEqualTo(512 << 10);
  }

  @ParameterizedTest
  @CsvSource({
    "an entry is repaired, ENTRY, true",
    "guest clusters share a place, DATA, true",
    "the table of the bitmap is shared, TABLE, true",
    "the bitmap's bits are shared, BITS, true",
    "a cluster is leaked, NOTHING, false"
  })
  void bitmapsDoNotCallUnchangedWhatDamageMayHaveChanged(String what, String target, boolean stale)
      throws Exception {
    Path image = marked();
    long l2 = offset(image, TestImages.word(image, 40));
    long table = TestImages.word(image, directory(image));
    TestImages.setWord(
        image,
        l2 + 8,
        switch (target) {
          case "ENTRY" -> 0x50201;
          case "DATA" -> TestImages.word(image, l2);
          case "TABLE" -> table | Geometry.COPIED;
          case "BITS" -> TestImages.word(image, table) | Geometry.COPIED;
          default -> 0;
        });

    RepairResult result = repair(image);

    assertThat(result.repaired()).isTrue();
    assertThat(result.left().findings()).isEmpty();
    Qemu.check(image).clean();
    try (Image opened = TestImages.openReadOnly(image)) {
      assertThat(Qcow2.bitmaps(opened).list())
          .singleElement()
          .satisfies(bitmap -> assertThat(bitmap.inconsistent()).isEqualTo(stale));
    }
    Qemu.img("bitmap", "--remove", image, "b0");
    Qemu.check(image).clean();
  }

  @Test
  void bitmapsWhoseDirectoryIsSomethingElseAreGivenUp() throws Exception {
    Path image = marked();
    long l2 = offset(image, TestImages.word(image, 40));
    TestImages.setWord(image, l2 + 8, directory(image) | Geometry.COPIED);

    RepairResult result = repair(image);

    assertThat(result.left().findings()).isEmpty();
    assertThat(result.lines()).anyMatch(line -> line.contains("all bitmaps are given up"));
    Qemu.check(image).clean();
    try (Image opened = TestImages.openReadOnly(image)) {
      assertThat(Qcow2.bitmaps(opened).list()).isEmpty();
    }
  }

  /** With two clusters of data and a bitmap that has bits. */
  private Path marked() throws IOException, InterruptedException {
    Path image = folder.resolve("image");
    Qemu.img("create", "-q", "-f", "qcow2", image, SIZE);
    Qemu.io(image, List.of("write -P 1 0 128k"));
    Qemu.img("bitmap", "--add", image, "b0");
    Qemu.io(image, List.of("write -P 1 0 64k"));
    return image;
  }

  private static long directory(Path image) throws IOException {
    try (Storage file = FileStorage.open(image, FileStorage.Options.readOnly())) {
      return HeaderReader.read(file).bitmaps().orElseThrow().directoryOffset();
    }
  }

  private Path encrypted() throws IOException {
    Path image = folder.resolve("image");
    Secret secret = new Secret("geheim".getBytes(StandardCharsets.UTF_8));
    try (FileStorage storage = FileStorage.create(image, FileStorage.Options.readWrite())) {
      var options =
          Qcow2CreateOptions.ofSize(SIZE)
              .withClusterSize(4096)
              .withLuks(LuksOptions.of(secret).withIterationMillis(0));
      Qcow2.create(storage, options, null, SyncMode.NONE);
    }
    return image;
  }

  private static void io(Path image, String... commands) throws Exception {
    List<Object> words = new ArrayList<>(List.of("qemu-io", "--object"));
    words.add("secret,id=key,data=geheim");
    words.add("--image-opts");
    for (String command : commands) {
      words.add("-c");
      words.add(command);
    }
    words.add(Qemu.encrypted(image));
    String out = Tool.run(words.toArray()).ok().out();
    assertThat(out).doesNotContain("failed").doesNotContain("rror");
  }

  private static long offset(Path image, long at) throws IOException {
    return TestImages.word(image, at) & Geometry.OFFSET_MASK;
  }

  private static RepairResult repair(Path image) throws IOException {
    try (Storage storage = FileStorage.open(image, FileStorage.Options.readWrite())) {
      return Qcow2.repair(storage, RepairMode.ALL, Progress.NONE);
    }
  }

  private byte[] snapshot(Path image, int cluster) throws Exception {
    Path raw = folder.resolve("raw");
    Qemu.img("convert", "--salvage", "-f", "qcow2", "-l", "s0", "-O", "raw", image, raw);
    byte[] bytes = Files.readAllBytes(raw);
    return Arrays.copyOfRange(bytes, cluster << 16, (cluster + 1) << 16);
  }

  private static void poke(Path image, String at, String hex) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(Long.parseLong(at, 16));
      file.write(HexFormat.of().parseHex(hex));
    }
  }
}
