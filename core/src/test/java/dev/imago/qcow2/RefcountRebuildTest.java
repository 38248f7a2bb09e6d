package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.CheckResult;
import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
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
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RefcountRebuildTest {
  private static final int SIZE = 4 << 20;

  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "cluster_size=512,refcount_bits=1",
        "cluster_size=1024,refcount_bits=2",
        "cluster_size=4096,refcount_bits=4",
        "cluster_size=512,refcount_bits=8",
        "cluster_size=65536,refcount_bits=16",
        "cluster_size=512,refcount_bits=64",
        "cluster_size=2M,refcount_bits=32"
      })
  void whatAKilledQemuLeavesIsMadeWhole(String options) throws Exception {
    Path image = killed(options);
    byte[] guest = guest(image);

    rebuild(image);

    Qemu.check(image).clean();
    assertThat(Qemu.img("info", image)).doesNotContain("cleanly shut down");
    assertThat(Qemu.read(image, folder.resolve("raw"))).isEqualTo(guest);
  }

  @Test
  void openingADirtyImageForWritingRepairsIt() throws Exception {
    Path image = killed("cluster_size=4096");

    try (Image opened = TestImages.open(image)) {
      opened.write(TestImages.filled(512, 9), 1 << 20);
    }

    Qemu.check(image).clean();
    Qemu.io(image, List.of("read -P 9 1M 512"));
  }

  @Test
  void openingItForReadingChangesNothing() throws Exception {
    Path image = killed("cluster_size=4096");
    byte[] before = Files.readAllBytes(image);

    guest(image);

    assertThat(image).hasBinaryContent(before);
  }

  @Test
  void snapshotsKeepTheirReferences() throws Exception {
    Path image = image("cluster_size=4096");
    Qemu.io(image, List.of("write -P 1 0 64k", "write -c -P 2 64k 4k"));
    Qemu.img("snapshot", "-c", "a", image);
    Qemu.img("snapshot", "-c", "b", image);
    kill(image, "write -P 3 8k 16k");

    rebuild(image);

    Qemu.check(image).clean();
    Qemu.img("snapshot", "-a", "a", image);
    Qemu.io(image, List.of("read -P 1 0 64k"));
    Qemu.check(image).clean();
  }

  @Test
  void staleFlagsAndCountsAreSetRight() throws Exception {
    Path image = image("");
    Qemu.io(image, List.of("write -P 1 0 128k", "write -P 2 1M 64k"));
    // All counts gone; one entry lost its flag, and one was given to a cluster of the other.
    poke(image, 0x20000, "00".repeat(64));
    poke(image, 0x40000, "0000000000050000");
    poke(image, 0x40008, "8000000000050000");
    dirty(image);

    rebuild(image);

    Qemu.check(image).clean();
    Qemu.io(image, List.of("read -P 1 0 128k", "read -P 2 1M 64k"));
    assertThat(hex(image, 0x40000, 8)).isEqualTo("8000000000050000");
    // The later of two guest clusters that shared a host cluster has got one of its own.
    assertThat(hex(image, 0x40008, 8)).startsWith("80").isNotEqualTo("8000000000050000");
  }

  @Test
  void aDataFileNeedsFlagsButNoCounts() throws Exception {
    Path image = image("data_file=" + folder.resolve("data"));
    Qemu.io(image, List.of("write -P 1 64k 64k"));
    poke(image, 0x40008, "0000000000010000");
    dirty(image);

    rebuild(image);

    Qemu.check(image).clean();
  }

  @Test
  void aDirtyImageThatCannotBeRepairedIsNotOpenedForWriting() throws Exception {
    for (String[] damage :
        new String[][] {
          {"40000", "8000000000050200", "Data cluster is not properly aligned"},
          {"40000", "8000000070000000", "exceeding the end of the file"},
          {"30000", "8000000000040200", "Table is not cluster aligned"}
        }) {
      Path image = image("");
      Qemu.io(image, List.of("write -P 1 0 128k"));
      poke(image, Long.parseLong(damage[0], 16), damage[1]);
      dirty(image);

      assertThatThrownBy(() -> TestImages.open(image))
          .isInstanceOf(CorruptImageException.class)
          .hasMessageContaining("more is wrong than can be repaired")
          .hasMessageContaining(damage[2]);

      assertThat(Qemu.img("info", image)).contains("cleanly shut down: no");
    }
  }

  @Test
  void aDirtyImageWithCountsTooLargeForTheirWidthGetsWiderOnes() throws Exception {
    Path image = image("refcount_bits=1");
    Qemu.io(image, List.of("write -P 1 0 128k"));
    poke(image, 0x40008, "8000000000050000");
    dirty(image);

    TestImages.open(image).close();

    Qemu.check(image).clean();
    assertThat(Qemu.img("info", image)).contains("refcount bits: 16");
  }

  @Test
  void anL1TableBehindTheEndOfTheFileIsNotOverwritten() throws Exception {
    Path image = image("cluster_size=4096");
    dirty(image);
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(0x3000);
    }

    rebuild(image);

    Qemu.check(image).clean();
    assertThat(guest(image)).containsOnly(0);
  }

  @Test
  void aFullDiskLeavesTheImageAsItWas() throws Exception {
    Path image = killed("cluster_size=4096");
    byte[] before = Files.readAllBytes(image);
    try (FaultyStorage disk = TestImages.faulty(image)) {
      disk.failNth(StorageCall.WRITE, 2);
      assertThatThrownBy(() -> Qcow2.repair(disk, RepairMode.ALL, Progress.NONE))
          .isInstanceOf(IOException.class);
    }

    assertThat(image).hasBinaryContent(before);
  }

  @Test
  void aCrashAtAnyCallLeavesAnImageThatTheNextRunMakesWhole() throws Exception {
    Path image = image("cluster_size=4096");
    Qemu.io(image, List.of("write -P 1 0 64k"));
    Qemu.img("snapshot", "-c", "a", image);
    kill(image, "write -P 3 8k 16k");
    poke(image, 0x3000, "00".repeat(8));
    Path expected = folder.resolve("expected");
    Files.copy(image, expected);
    rebuild(expected);
    byte[] guest = guest(expected);
    CrashGroup group = new CrashGroup();
    CrashStorage disk = group.storage("disk");
    disk.write(ByteBuffer.wrap(Files.readAllBytes(image)), 0);
    disk.flush();
    Random random = new Random(7);
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
    if (Qcow2.info(disk).dirty()) {
      Qcow2.repair(disk, RepairMode.ALL, Progress.NONE);
    }
    CheckResult result = Qcow2.check(disk, Progress.NONE);
    assertThat(result.findings()).as(where).isEmpty();
    try (Image image = Qcow2.open(disk, Qcow2OpenOptions.defaults(), TestImages.FILES)) {
      assertThat(TestImages.read(image, 0, SIZE)).as(where).isEqualTo(guest);
    }
  }

  private Path image(String options) throws IOException, InterruptedException {
    Path image = folder.resolve("image");
    Files.deleteIfExists(image);
    String all = "lazy_refcounts=on" + (options.isEmpty() ? "" : ",") + options;
    Qemu.img("create", "-q", "-f", "qcow2", "-o", all, image, SIZE);
    return image;
  }

  /** An image that QEMU was writing to when it was killed. */
  private Path killed(String options) throws IOException, InterruptedException {
    Path image = image(options);
    kill(image, "write -P 1 0 64k", "write -P 2 1M 300k", "discard 64k 64k", "write -z 1M 64k");
    return image;
  }

  private static void kill(Path image, String... commands)
      throws IOException, InterruptedException {
    List<String> words = new ArrayList<>(List.of("qemu-io", "-f", "qcow2"));
    for (String command : commands) {
      words.addAll(List.of("-c", command));
    }
    words.addAll(List.of("-c", "flush", "-c", "sigraise 9", image.toString()));
    assertThat(Tool.run(words.toArray()).status()).isNotZero();
    assertThat(Qemu.img("info", "-U", image)).contains("cleanly shut down: no");
  }

  private static void rebuild(Path image) throws IOException {
    try (Storage storage = FileStorage.open(image, FileStorage.Options.readWrite())) {
      Qcow2.repair(storage, RepairMode.ALL, Progress.NONE);
    }
  }

  private static byte[] guest(Path image) throws IOException {
    try (Image opened = TestImages.openReadOnly(image)) {
      return TestImages.read(opened, 0, SIZE);
    }
  }

  private static void dirty(Path image) throws IOException {
    poke(image, 79, "0" + (HexFormat.fromHexDigits(hex(image, 79, 1)) | 1));
  }

  private static String hex(Path image, long at, int length) throws IOException {
    byte[] bytes = new byte[length];
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
      file.seek(at);
      file.readFully(bytes);
    }
    return HexFormat.of().formatHex(bytes);
  }

  private static void poke(Path image, long at, String hex) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(at);
      file.write(HexFormat.of().parseHex(hex));
    }
  }
}
