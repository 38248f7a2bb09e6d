package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.filter.WindowStorage;
import dev.imago.image.CheckResult;
import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.Events.Stage;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Counts may be late, and the disk says so meanwhile. */
class LazyRefcountsTest {
  private static final int CLUSTER = 65536;

  @TempDir private Path folder;
  private Path file;
  private int rounds;

  @BeforeEach
  void makeImage() throws Exception {
    file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", file, "4M");
  }

  private Image open(@Nullable Boolean lazy) throws IOException {
    return Qcow2.open(
        FileStorage.open(file, FileStorage.Options.readWrite()),
        Qcow2OpenOptions.defaults().withWritable(true).withLazyRefcounts(lazy),
        TestImages.FILES);
  }

  private long incompatible() throws IOException {
    return TestImages.word(file, Header.AT_INCOMPATIBLE);
  }

  private CheckResult check() throws IOException {
    try (FileStorage storage =
        FileStorage.open(file, new FileStorage.Options(false, false, false, true))) {
      return Qcow2.check(storage, Progress.NONE);
    }
  }

  /** What a process that is killed now leaves. */
  private Path killed() throws IOException {
    Path left = folder.resolve("killed.qcow2");
    Files.deleteIfExists(left);
    return Files.copy(file, left);
  }

  @Test
  void aFlushLeavesCountsInMemoryAndTheDiskSaysSo() throws Exception {
    try (Image image = open(null)) {
      image.write(filled(CLUSTER, 1), 0);
      assertThat(incompatible()).isZero();
      image.flush();
      assertThat(incompatible()).isEqualTo(Header.INCOMPATIBLE_DIRTY);
      assertThat(check().corruptions()).isPositive();
      try (Image other = TestImages.openReadOnly(killed())) {
        assertThat(TestImages.read(other, 0, CLUSTER)).containsOnly(1);
      }
    }
    assertThat(incompatible()).isZero();
    Qemu.check(file).clean();
  }

  /** New refcount structures went behind the end, where a device has no room: it stayed locked. */
  @Test
  void onADeviceThatCannotGrowTheCountsAreMadeAnewToo() throws Exception {
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
      channel.write(ByteBuffer.allocate(1), (8 << 20) - 1);
    }
    try (Image image = openWindow(file)) {
      image.write(filled(CLUSTER, 1), 0);
      image.flush();
      Path left = killed();
      try (Image again = openWindow(left)) {
        assertThat(TestImages.read(again, 0, CLUSTER)).containsOnly(1);
        again.write(filled(CLUSTER, 2), CLUSTER);
      }
      Qemu.check(left).clean();
      assertThat(left).hasSize(8 << 20);
    }
  }

  private static Image openWindow(Path path) throws IOException {
    FileStorage below = FileStorage.open(path, FileStorage.Options.readWrite());
    return Qcow2.open(
        new WindowStorage(below, 0, below.size()),
        Qcow2OpenOptions.defaults().withWritable(true),
        TestImages.FILES);
  }

  @Test
  void anImageThatIsOnlyWrittenInPlaceIsNotDirty() throws Exception {
    try (Image image = open(null)) {
      image.write(filled(CLUSTER, 1), 0);
    }
    try (Image image = open(null)) {
      image.write(filled(CLUSTER, 2), 0);
      image.flush();
      assertThat(incompatible()).isZero();
    }
  }

  @Test
  void withoutTheOptionCountsAreNeverLate() throws Exception {
    try (Image image = open(false)) {
      image.write(filled(CLUSTER, 1), 0);
      image.flush();
      assertThat(incompatible()).isZero();
      assertThat(check().findings()).isEmpty();
    }
  }

  @Test
  void theOptionMakesCountsLateInAnImageThatDoesNotAskForIt() throws Exception {
    Qemu.img("create", "-q", "-f", "qcow2", file, "4M");
    try (Image image = open(null)) {
      image.write(filled(CLUSTER, 1), 0);
      image.flush();
      assertThat(incompatible()).isZero();
    }
    try (Image image = open(true)) {
      image.write(filled(CLUSTER, 1), CLUSTER);
      image.flush();
      assertThat(incompatible()).isEqualTo(Header.INCOMPATIBLE_DIRTY);
    }
    assertThat(incompatible()).isZero();
    Qemu.check(file).clean();
  }

  @Test
  void aVersion2ImageRefusesTheOption() throws Exception {
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "compat=0.10", file, "4M");
    assertThatThrownBy(() -> open(true))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessageContaining("at least qemu 1.1 compatibility level");
    byte[] before = Files.readAllBytes(file);
    try (Image image = open(null)) {
      image.write(filled(CLUSTER, 1), 0);
      image.flush();
      assertThat(check().findings()).isEmpty();
      // Where version 3 has its feature bits, version 2 has the backing file's name or nothing.
      assertThat(incompatible())
          .isEqualTo(java.nio.ByteBuffer.wrap(before).getLong(Header.AT_INCOMPATIBLE));
    }
  }

  @Test
  void openingForWritingRepairsWhatAKilledProcessLeft() throws Exception {
    Path left;
    try (Image image = open(null)) {
      image.write(filled(3 * CLUSTER, 1), CLUSTER);
      image.flush();
      left = killed();
    }
    byte[] before = Files.readAllBytes(left);
    try (Image other = TestImages.openReadOnly(left)) {
      assertThat(TestImages.read(other, CLUSTER, 3 * CLUSTER)).containsOnly(1);
    }
    assertThat(Files.readAllBytes(left)).isEqualTo(before);
    try (Image again = TestImages.open(left)) {
      assertThat(TestImages.word(left, Header.AT_INCOMPATIBLE)).isZero();
      again.write(filled(CLUSTER, 2), 0);
      assertThat(TestImages.read(again, 0, CLUSTER)).containsOnly(2);
      assertThat(TestImages.read(again, CLUSTER, 3 * CLUSTER)).containsOnly(1);
    }
    Qemu.check(left).clean();
  }

  @Test
  void qemuRepairsWhatAKilledProcessLeft() throws Exception {
    Path left;
    try (Image image = open(null)) {
      image.write(filled(3 * CLUSTER, 1), CLUSTER);
      image.flush();
      left = killed();
    }
    assertThat(Qemu.img("info", left)).contains("cleanly shut down: no");
    Path opened = folder.resolve("opened.qcow2");
    Files.copy(left, opened);
    // QEMU says on its standard error what it repairs.
    Tool.run("qemu-io", "-f", "qcow2", "-c", "write -P 2 0 64k", opened).ok();
    Qemu.io(opened, List.of("read -P 2 0 64k", "read -P 1 64k 192k"));
    Qemu.check(opened).clean();
    Tool.run("qemu-img", "check", "-r", "all", left).ok();
    Qemu.io(left, List.of("read -P 1 64k 192k"));
    Qemu.check(left).clean();
  }

  @Test
  void aDirtyImageThatIsMarkedCorruptTooIsNotWritten() throws Exception {
    TestImages.setWord(
        file, Header.AT_INCOMPATIBLE, Header.INCOMPATIBLE_DIRTY | Header.INCOMPATIBLE_CORRUPT);
    byte[] before = Files.readAllBytes(file);
    assertThatThrownBy(() -> open(null))
        .isInstanceOf(CorruptImageException.class)
        .hasMessageContaining("Image is corrupt; cannot be opened read/write");
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  @Test
  void corruptionThatIsMetWhileCountsAreLateSetsBothBits() throws Exception {
    Image image = open(null);
    image.write(filled(CLUSTER, 1), 0);
    image.flush();
    image.close();
    long l2 = TestImages.word(file, TestImages.word(file, 40)) & 0xffffffffffff00L;
    TestImages.setWord(file, l2 + 8, 0x8000000000050200L);
    Image again = open(null);
    again.write(filled(CLUSTER, 1), 2 * CLUSTER);
    again.flush();
    assertThatThrownBy(() -> again.write(filled(512, 1), CLUSTER))
        .isInstanceOf(CorruptImageException.class);
    assertThatThrownBy(again::close).isInstanceOf(IOException.class);
    assertThat(incompatible()).isEqualTo(Header.INCOMPATIBLE_DIRTY | Header.INCOMPATIBLE_CORRUPT);
  }

  /** Something that needs counts on the disk. */
  private interface Operation {
    void run(Image image) throws IOException;
  }

  private void countsAreRightAfter(Operation operation) throws IOException {
    try (Image image = open(null)) {
      image.write(filled(3 * CLUSTER, 1), 0);
      image.flush();
      image.discard(0, CLUSTER, Image.Discard.TO_ZERO);
      operation.run(image);
      assertThat(check().corruptions()).isZero();
      image.write(filled(CLUSTER, 2), (8L + rounds++) * CLUSTER);
      image.flush();
      assertThat(incompatible()).isEqualTo(Header.INCOMPATIBLE_DIRTY);
    }
    assertThat(incompatible()).isZero();
    assertThat(check().findings()).isEmpty();
  }

  @Test
  void aSnapshotIsMadeAppliedAndDeletedOverRightCounts() throws Exception {
    countsAreRightAfter(
        image -> {
          Qcow2.createSnapshot(image, "one", Instant.EPOCH);
          assertThat(incompatible()).isZero();
          assertThat(check().findings()).isEmpty();
        });
    countsAreRightAfter(image -> Qcow2.applySnapshot(image, "one"));
    countsAreRightAfter(image -> Qcow2.deleteSnapshot(image, "one"));
  }

  @Test
  void compactingResizingAndBitmapsLeaveRightCounts() throws Exception {
    countsAreRightAfter(image -> Qcow2.compact(image, Progress.NONE));
    countsAreRightAfter(image -> image.resize(8 << 20, Preallocation.OFF, false));
    countsAreRightAfter(image -> image.resize(3 << 20, Preallocation.OFF, true));
    countsAreRightAfter(image -> Qcow2.bitmaps(image).add("b", CLUSTER, true));
  }

  @Test
  void aBlockOfCountsThatIsNewIsNeverLate() throws Exception {
    Qemu.img(
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "lazy_refcounts=on,cluster_size=512,refcount_bits=64",
        file,
        "1M");
    try (Image image = open(null)) {
      image.write(filled(512, 1), 0);
      image.flush();
      assertThat(check().corruptions()).isPositive();
      // One block counts 64 clusters.
      image.write(filled(100 * 512, 2), 512);
      image.flush();
      assertThat(incompatible()).isEqualTo(Header.INCOMPATIBLE_DIRTY);
      assertThat(check().corruptions()).isZero();
    }
  }

  @Test
  void whatSomebodyElseLeftDirtyIsNotGoneOnWith() throws Exception {
    Image image = open(null);
    image.write(filled(CLUSTER, 1), 0);
    image.flush();
    image.invalidateCache();
    assertThat(incompatible()).isZero();
    TestImages.setWord(file, Header.AT_INCOMPATIBLE, Header.INCOMPATIBLE_DIRTY);
    assertThatThrownBy(image::invalidateCache).hasMessageContaining("must be opened anew");
    image.close();
    assertThat(incompatible()).isEqualTo(Header.INCOMPATIBLE_DIRTY);
  }

  @Test
  void anImageWhoseClosingFailsStaysDirtyAndIsRepairedLater() throws Exception {
    FaultyStorage storage = TestImages.faulty(file);
    Image image = TestImages.open(storage);
    image.write(filled(CLUSTER, 1), 0);
    image.flush();
    storage.failNth(StorageCall.FLUSH, storage.calls(StorageCall.FLUSH) + 1);
    assertThatThrownBy(image::close).hasMessageContaining("Input/output error");
    assertThat(incompatible()).isEqualTo(Header.INCOMPATIBLE_DIRTY);
    try (Image again = open(null)) {
      assertThat(TestImages.read(again, 0, CLUSTER)).containsOnly(1);
    }
    Qemu.check(file).clean();
  }

  /** Closes an image whose counts are late, and says what is wrong with what crashes leave. */
  private List<String> wrongInCrashesOfClosing(boolean barrierBehindCounts) throws Exception {
    CrashGroup group = new CrashGroup();
    CrashStorage storage = group.storage("image", CrashImage.of(file));
    boolean[] closing = {false};
    Events events =
        new Events() {
          @Override
          public boolean skipsBarrier(Stage stage) {
            return closing[0] && stage == Stage.REFCOUNTS && !barrierBehindCounts;
          }
        };
    Image image =
        Qcow2.open(
            storage, Qcow2OpenOptions.defaults().withWritable(true), TestImages.FILES, events);
    image.write(filled(3 * CLUSTER, 1), 0);
    image.flush();
    List<CrashImage> left = new ArrayList<>();
    SplittableRandom random = new SplittableRandom(1);
    group.onCall(
        moment -> {
          for (Bias bias : Bias.values()) {
            left.add(group.crash(random, bias).get("image"));
          }
        });
    closing[0] = true;
    image.close();
    group.onCall(moment -> {});
    List<String> wrong = new ArrayList<>();
    boolean clean = false;
    for (CrashImage each : left) {
      if (!DirtyJudge.isDirty(each)) {
        clean = true;
        CheckResult check = CrashJudge.checkOurs(each);
        wrong.addAll(check.corruptions() > 0 ? check.findings() : List.of());
      }
    }
    assertThat(clean).as("some crash found the image closed").isTrue();
    return wrong;
  }

  @Test
  void theDiskCallsItsCountsRightOnlyWhenTheyAre() throws Exception {
    assertThat(wrongInCrashesOfClosing(true)).isEmpty();
    // The test is worth something.
    assertThat(wrongInCrashesOfClosing(false)).isNotEmpty();
  }
}
