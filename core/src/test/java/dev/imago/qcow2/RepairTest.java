package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RepairTest {
  private static final int SIZE = 4 << 20;

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "nothing, all, 0, 514649fb",
    "L1 entry without COPIED, leaks, 30000, 0000000000040000",
    "no L2 table, all, 30000, 0000000000000000",
    "L2 entry without COPIED, all, 40000, 0000000000050000",
    "unaligned preallocated cluster, all, 40000, 8000000000050201",
    "unaligned preallocated cluster over its own table, all, 40000, 8000000000040201",
    "data beyond the end, leaks, 40000, 8000000010000000",
    "data beyond the end, all, 40000, 8000000010000000",
    "compressed cluster beyond the end, all, 40000, 4000000010000000",
    "unaligned data, all, 40000, 8000000000050200",
    "data cluster used twice, leaks, 40000, 8000000000060000",
    "leaked data, leaks, 40000, 0000000000000000",
    "leaked data, all, 40000, 0000000000000000",
    "count of 2 for an L2 table, all, 20008, 0002000100010000",
    "count of 0, leaks, 20008, 0001000000010000",
    "count of 0, all, 20008, 0001000000010000",
    "refcount block used twice, all, 10008, 0000000000020000",
    "refcount block in data, all, 10008, 0000000000060000",
    "no refcount block, leaks, 10000, 0000000000000000"
  })
  void repairsAreToldInQemusWords(String what, String mode, String at, String word)
      throws Exception {
    Path image = image(false);
    poke(image, at, word);
    Path theirs = folder.resolve("theirs");
    Files.copy(image, theirs);
    Tool.Outcome qemu = Tool.run("qemu-img", "check", "-r", mode, theirs);

    RepairResult result = repair(image, RepairMode.valueOf(mode.toUpperCase(Locale.ROOT)));

    List<String> ours = new ArrayList<>(result.lines());
    if (result.repaired()) {
      ours.addAll(result.left().findings());
    }
    assertThat(ours)
        .isEqualTo(qemu.err().lines().filter(line -> !line.startsWith("qemu-img: ")).toList());
    int status =
        result.refused()
            ? 1
            : result.left().corruptions() > 0 ? 2 : result.left().leaks() > 0 ? 3 : 0;
    assertThat(status).isEqualTo(qemu.status());
    if (result.repaired()) {
      assertThat(qemu.out())
          .contains("    %d leaked clusters\n".formatted(result.leaksFixed()))
          .contains("    %d corruptions\n".formatted(result.corruptionsFixed()));
    }
    if (status == 0) {
      Qemu.check(image).clean();
    }
  }

  @ParameterizedTest
  @CsvSource({
    "L1 entry with reserved bits, 30000, 8000000000040001",
    "L2 entry with reserved bits, 40000, 8000000000050002",
    "refcount table entry with reserved bits, 10000, 0000000000020001",
    "unaligned refcount block, 10000, 0000000000020200",
    "refcount block beyond the end, 10000, 0000000020000000",
    "no refcount table, 38, 0000000000000000"
  })
  void whatQemuCannotOrDoesInAnotherWayEndsCleanToo(String what, String at, String word)
      throws Exception {
    Path image = image(true);
    byte[] guest = guest(image);
    poke(image, at, word);

    assertThat(repair(image, RepairMode.ALL).left().clean()).isTrue();

    Qemu.check(image).clean();
    assertThat(guest(image)).isEqualTo(guest);
  }

  @ParameterizedTest
  @CsvSource({"compat=0.10, 8000000000050201, 0", "extended_l2=on, 8000000000050200, 0"})
  void anEntryWithoutDataLosesAPlaceThatItCannotHave(String option, String word, String right)
      throws Exception {
    Path image = folder.resolve("image");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", option, image, SIZE);
    Qemu.io(image, List.of("write -P 1 0 64k", "write -P 2 128k 64k"));
    poke(image, "40000", word + "0000000000000000");

    assertThat(repair(image, RepairMode.ALL).left().findings()).isEmpty();

    Qemu.check(image).clean();
    assertThat(TestImages.word(image, 0x40000)).isEqualTo(Long.parseLong(right, 16));
    Qemu.io(image, List.of("read -P 0 0 64k", "read -P 2 128k 64k"));
  }

  @ParameterizedTest
  @CsvSource({
    "another guest cluster, 8000000000060000, 2",
    "the L1 table, 8000000000030000, -1",
    "the refcount table, 8000000000010000, -1",
    "its own L2 table, 8000000000040000, -1"
  })
  void guestClustersThatShareAPlaceGetOneEach(String what, String word, int pattern)
      throws Exception {
    Path image = image(false);
    poke(image, "40000", word);

    RepairResult result = repair(image, RepairMode.ALL);

    assertThat(result.left().findings()).isEmpty();
    assertThat(result.corruptionsFixed()).isPositive();
    Qemu.check(image).clean();
    if (pattern >= 0) {
      Qemu.io(image, List.of("read -P %d 0 64k".formatted(pattern), "write -P 9 0 64k"));
    }
    Qemu.io(image, List.of("read -P 2 128k 64k"));
    Qemu.check(image).clean();
  }

  @ParameterizedTest
  @CsvSource({"too much, 00000800", "too little, 00000008", "none, 00000000"})
  void snapshotEntriesGetTheExtraDataThatTheyShouldHave(String what, String length)
      throws Exception {
    Path image = image(true);
    poke(image, "80024", length);

    RepairResult result = repair(image, RepairMode.ALL);

    assertThat(result.lines()).hasSize(1);
    assertThat(result.corruptionsFixed()).isEqualTo(1);
    assertThat(result.left().clean()).isTrue();
    Qemu.check(image).clean();
  }

  @Test
  void whatCannotBeRepairedIsListedWithItsPlaces() throws Exception {
    Path image = image(false);
    poke(image, "40000", "8000000000050200");
    poke(image, "40010", "8000000070000000");

    assertThat(repair(image, RepairMode.ALL).lost())
        .containsExactly(
            new RepairResult.Lost(0, 65536, 0x50200, "not cluster aligned"),
            new RepairResult.Lost(0x20000, 65536, 0x70000000, "behind the end of the file"));
  }

  @Test
  void theCorruptBitGoesWhenNothingIsLeftAndStaysOtherwise() throws Exception {
    Path image = image(false);
    poke(image, "48", "0000000000000003");
    repair(image, RepairMode.LEAKS);
    assertThat(Qemu.img("info", image)).contains("corrupt: false");

    poke(image, "48", "0000000000000002");
    poke(image, "40000", "8000000000050200");
    repair(image, RepairMode.ALL);
    assertThat(Qemu.img("info", "-U", image)).contains("corrupt: true");
  }

  @Test
  void aTableThatIsAGuestsDataIsNotChanged() throws Exception {
    Path image = image(false);
    // The L1 entry leads to a data cluster: every word of it has reserved bits.
    Qemu.io(image, List.of("write -P 0x77 0 64k"));
    poke(image, "30000", "8000000000050000");
    byte[] before = Files.readAllBytes(image);

    repair(image, RepairMode.ALL);

    byte[] after = Files.readAllBytes(image);
    assertThat(Arrays.mismatch(slice(before), slice(after))).isEqualTo(-1);
  }

  private static byte[] slice(byte[] file) {
    return Arrays.copyOfRange(file, 0x50000, 0x60000);
  }

  @Test
  void afterAnyFailureAnotherRepairEndsClean() throws Exception {
    Path damaged = damaged();
    byte[] original = Files.readAllBytes(damaged);
    repair(damaged, RepairMode.ALL);
    byte[] guest = guest(damaged);
    int failures = 0;
    for (StorageCall call : List.of(StorageCall.WRITE, StorageCall.FLUSH)) {
      for (int n = 1; ; n++) {
        Path image = folder.resolve("again");
        Files.write(image, original);
        boolean failed = false;
        try (FaultyStorage disk = TestImages.faulty(image)) {
          disk.failNth(call, n);
          Qcow2.repair(disk, RepairMode.ALL, Progress.NONE);
        } catch (IOException e) {
          failed = true;
        }
        if (!failed) {
          break;
        }
        failures++;
        assertThat(repair(image, RepairMode.ALL).left().findings()).as(call + " " + n).isEmpty();
        assertThat(guest(image)).as(call + " " + n).isEqualTo(guest);
      }
    }
    assertThat(failures).isGreaterThan(15);
  }

  @Test
  void aCrashAtAnyCallLeavesAnImageThatTheNextRepairMakesWhole() throws Exception {
    Path damaged = damaged();
    byte[] original = Files.readAllBytes(damaged);
    repair(damaged, RepairMode.ALL);
    byte[] guest = guest(damaged);
    CrashGroup group = new CrashGroup();
    CrashStorage disk = group.storage("disk");
    disk.write(ByteBuffer.wrap(original), 0);
    disk.flush();
    Random random = new Random(5);
    int[] judged = {0};
    group.onCall(
        moment -> {
          for (CrashGroup.Bias bias : CrashGroup.Bias.values()) {
            try {
              judge(group.crash(random, bias).get("disk"), guest, moment + " " + bias);
              judged[0]++;
            } catch (IOException e) {
              throw new UncheckedIOException(moment + " " + bias, e);
            }
          }
        });

    Qcow2.repair(disk, RepairMode.ALL, Progress.NONE);

    assertThat(judged[0]).isGreaterThan(50);
  }

  private static void judge(CrashImage left, byte[] guest, String where) throws IOException {
    CrashStorage disk = new CrashGroup().storage("left", left);
    Qcow2.repair(disk, RepairMode.ALL, Progress.NONE);
    assertThat(Qcow2.check(disk, Progress.NONE).findings()).as(where).isEmpty();
    try (Image image = Qcow2.open(disk, Qcow2OpenOptions.defaults(), TestImages.FILES)) {
      assertThat(TestImages.read(image, 0, SIZE)).as(where).isEqualTo(guest);
    }
  }

  /** Damage of all kinds that can be repaired without counting anew. */
  private Path damaged() throws IOException, InterruptedException {
    Path image = folder.resolve("damaged");
    String options = "cluster_size=4096";
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, image, SIZE);
    Qemu.io(image, List.of("write -P 1 0 32k", "write -P 2 64k 32k", "write -z 128k 32k"));
    Qemu.img("snapshot", "-c", "s0", image);
    Qemu.io(image, List.of("write -P 3 0 16k"));
    long l1 = TestImages.word(image, 40);
    long l2 = TestImages.word(image, l1) & 0x00ff_ffff_ffff_fe00L;
    // A shared cluster, one in the L1 table, a flag, an unaligned zero cluster, a leak.
    TestImages.setWord(image, l2 + 8, TestImages.word(image, l2));
    TestImages.setWord(image, l2 + 16, l1 | 1L << 63);
    TestImages.setWord(image, l2 + 24, TestImages.word(image, l2 + 24) & ~(1L << 63));
    TestImages.setWord(image, l2 + 32 * 8, 0x5201);
    TestImages.setWord(image, l2 + 4 * 8, TestImages.word(image, l2 + 4 * 8) | 2);
    long snapshots = TestImages.word(image, 64);
    TestImages.setWord(image, snapshots + 32, 8);
    return image;
  }

  @Test
  void aFormatErrorIsThrownAndNothingIsChanged() throws Exception {
    Path image = image(false);
    poke(image, "14", "00000001");
    byte[] before = Files.readAllBytes(image);

    assertThatThrownBy(() -> repair(image, RepairMode.ALL)).hasMessageContaining("cluster_bits");

    assertThat(image).hasBinaryContent(before);
  }

  /** 4 MiB with data at 0 and 128 KiB and a zeroed part. */
  private Path image(boolean snapshot) throws IOException, InterruptedException {
    Path image = folder.resolve("image");
    Files.deleteIfExists(image);
    Qemu.img("create", "-q", "-f", "qcow2", image, SIZE);
    Qemu.io(image, List.of("write -P 1 0 64k", "write -P 2 128k 64k", "write -z 256k 64k"));
    if (snapshot) {
      Qemu.img("snapshot", "-c", "s0", image);
    }
    return image;
  }

  private static RepairResult repair(Path image, RepairMode mode) throws IOException {
    try (Storage storage = FileStorage.open(image, FileStorage.Options.readWrite())) {
      return Qcow2.repair(storage, mode, Progress.NONE);
    }
  }

  private static byte[] guest(Path image) throws IOException {
    try (Image opened = TestImages.openReadOnly(image)) {
      return TestImages.read(opened, 0, SIZE);
    }
  }

  private static void poke(Path image, String at, String hex) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(Long.parseLong(at, 16));
      file.write(HexFormat.of().parseHex(hex));
    }
  }
}
