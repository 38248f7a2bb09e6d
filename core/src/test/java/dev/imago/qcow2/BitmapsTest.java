package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.image.Progress;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.image.WritableRun;
import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Bitmaps made by qemu-img and by us, kept up to date by both. */
class BitmapsTest {
  private static final int SIZE = 4 << 20;
  private static final int KIB = 1 << 10;

  @TempDir private Path folder;
  private Path file;

  @BeforeEach
  void makeImage() throws Exception {
    file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", file, SIZE);
  }

  @Test
  void everyKindOfChangeIsNotedExactly() throws Exception {
    Qemu.img("bitmap", "--add", "-g", "4k", file, "b0");
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(100, 1), 10_000);
      image.writeZeroes(256 * KIB, 4 * KIB, true, false);
      image.discard(640 * KIB, 64 * KIB, Discard.TO_ZERO);
      try (WritableRun run = image.reserve(1 << 20, 8 * KIB, true)) {
        run.storage().write(TestImages.filled(8 * KIB, 2), run.hostOffset());
        run.commit();
      }
      image.reserve(2 << 20, 8 * KIB, true).close();
      try (WritableRun inPlace = image.reserve(12 * KIB, 1, true)) {
        assertThat(inPlace.length()).isEqualTo(1);
      }
      assertThat(Qcow2.bitmaps(image).dirtyExtents("b0"))
          .containsExactly(
              new Range(8 * KIB, 8 * KIB),
              new Range(256 * KIB, 4 * KIB),
              new Range(640 * KIB, 64 * KIB),
              new Range(1 << 20, 8 * KIB));
      assertThat(Qcow2.bitmaps(image).dirtyBytes("b0")).isEqualTo(84 * KIB);
    }

    assertThat(only().bits().cardinality()).isEqualTo(21);
    Qemu.check(file).clean();
    Qemu.io(file, List.of("write 3M 4k"));
    assertThat(only().bits().cardinality()).isEqualTo(22);
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(1, 3), SIZE - 1);
    }
    assertThat(only().bits().cardinality()).isEqualTo(23);
    assertThat(only().dirty(SIZE - 1)).isTrue();
    Qemu.check(file).clean();
  }

  @Test
  void theDiskSaysInUseFromTheFirstChangeToTheEnd() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    Qemu.img("bitmap", "--add", "--disable", file, "frozen");
    byte[] before = Files.readAllBytes(file);
    try (Image image = TestImages.open(file)) {
      image.flush();
      assertThat(Qcow2.bitmaps(image).list()).hasSize(2);
    }
    assertThat(Files.readAllBytes(file)).as("an idle open writes nothing").isEqualTo(before);

    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(1, 1), 0);
      assertThat(StoredBitmap.read(file).get(0).inUse()).isTrue();
      assertThat(StoredBitmap.read(file).get(1).inUse()).isFalse();
      assertThat(Qcow2.bitmaps(image).list())
          .containsExactly(
              new BitmapInfo("b0", 65536, true, false),
              new BitmapInfo("frozen", 65536, false, false));
    }
    assertThat(StoredBitmap.read(file)).noneMatch(StoredBitmap::inUse);
    assertThat(StoredBitmap.read(file).get(0).dirty(0)).isTrue();
    assertThat(StoredBitmap.read(file).get(1).dirty(0)).isFalse();
    Qemu.check(file).clean();
  }

  @ParameterizedTest(name = "clusters of {0}, granularity {1}, {2}")
  @CsvSource({
    "512, 512, ''",
    "512, 65536, ''",
    "4096, 512, ''",
    "65536, 4096, ''",
    "2097152, 65536, ''",
    "65536, 65536, data",
    "65536, 512, raw"
  })
  void whatWeMakeAndNoteQemuReads(int clusterSize, int granularity, String data) throws Exception {
    String options = "cluster_size=" + clusterSize;
    if (!data.isEmpty()) {
      options += ",data_file=" + folder.resolve("data");
      options += data.equals("raw") ? ",data_file_raw=on" : "";
    }
    Files.delete(file);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, SIZE + 512);
    SplittableRandom random = new SplittableRandom(clusterSize);
    boolean[] written = new boolean[SIZE / granularity + 1];
    try (Image image = TestImages.open(file)) {
      Qcow2.bitmaps(image).add("ours", granularity, true);
      for (int i = 0; i < 30; i++) {
        int at = random.nextInt(SIZE);
        int length = 1 + random.nextInt(Math.min(100_000, SIZE + 512 - at));
        image.write(TestImages.filled(length, i), at);
        for (int each = at / granularity; each <= (at + length - 1) / granularity; each++) {
          written[each] = true;
        }
      }
    }
    StoredBitmap ours = only();
    for (int i = 0; i < written.length; i++) {
      assertThat(ours.bits().get(i)).as("granule %d", i).isEqualTo(written[i]);
    }
    assertThat(ours.flags()).isEqualTo(2);
    Qemu.check(file).clean();
    // QEMU reads all of it to merge it.
    Qemu.img("bitmap", "--add", "--merge", "ours", "-g", granularity, file, "theirs");
    assertThat(StoredBitmap.read(file).get(1).bits()).isEqualTo(ours.bits());
    Qemu.check(file).clean();
  }

  @Test
  void aWholeDirtyDiskTakesNoSpaceAndQemuReadsIt() throws Exception {
    try (Image image = TestImages.open(file)) {
      Qcow2.bitmaps(image).add("all", 512, true);
      image.writeZeroes(0, SIZE, true, false);
    }
    assertThat(only().bits().cardinality()).isEqualTo(SIZE / 512);
    Qemu.img("bitmap", "--add", "--merge", "all", "-g", 1024, file, "theirs");
    assertThat(StoredBitmap.read(file).get(1).bits().cardinality()).isEqualTo(SIZE / 1024);
    Qemu.check(file).clean();
  }

  @Test
  void clearEnableDisableMergeAndRemoveAreOnTheDiskAtOnce() throws Exception {
    try (Image image = TestImages.open(file)) {
      Bitmaps bitmaps = Qcow2.bitmaps(image);
      bitmaps.add("a", 4096, true);
      bitmaps.add("b", 65536, false);
      image.write(TestImages.filled(10, 1), 70_000);
      assertThat(bitmaps.dirtyExtents("a")).containsExactly(new Range(69632, 4096));
      assertThat(bitmaps.dirtyExtents("b")).isEmpty();

      bitmaps.merge("b", "a");
      assertThat(StoredBitmap.read(file).get(1).bits().stream()).containsExactly(1);
      bitmaps.clear("a");
      assertThat(StoredBitmap.read(file).get(0).inUse()).isTrue();
      image.write(TestImages.filled(10, 2), 0);
      bitmaps.disable("a");
      assertThat(StoredBitmap.read(file).get(0).flags()).isZero();
      assertThat(StoredBitmap.read(file).get(0).bits().stream()).containsExactly(0);
      bitmaps.enable("b");
      assertThat(StoredBitmap.read(file).get(1).flags()).isEqualTo(3);
      image.write(TestImages.filled(10, 2), 1 << 20);
      bitmaps.remove("a");
      assertThat(bitmaps.list()).containsExactly(new BitmapInfo("b", 65536, true, false));
    }
    assertThat(only().bits().stream()).containsExactly(1, 16);
    Qemu.check(file).clean();
    try (Image image = TestImages.open(file)) {
      Qcow2.bitmaps(image).remove("b");
    }
    assertThat(StoredBitmap.read(file)).isEmpty();
    assertThat(Qemu.img("info", file)).doesNotContain("bitmaps");
    Qemu.check(file).clean();
  }

  @Test
  void anotherImagesBitmapIsMerged() throws Exception {
    Path other = folder.resolve("other.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", other, SIZE);
    Qemu.img("bitmap", "--add", "-g", "512", other, "theirs");
    Qemu.io(other, List.of("write 1M 512"));
    try (Image image = TestImages.open(file);
        Image from = TestImages.openReadOnly(other)) {
      Bitmaps bitmaps = Qcow2.bitmaps(image);
      bitmaps.add("ours", 65536, false);
      bitmaps.merge("ours", Qcow2.bitmaps(from), "theirs");
      assertThat(bitmaps.dirtyExtents("ours")).containsExactly(new Range(1 << 20, 65536));
      assertThatThrownBy(() -> Qcow2.bitmaps(from).clear("theirs"))
          .isInstanceOf(ReadOnlyImageException.class);
      image.resize(2 * SIZE, Preallocation.OFF, false);
      assertThatThrownBy(() -> bitmaps.merge("ours", Qcow2.bitmaps(from), "theirs"))
          .hasMessage(
              "Bitmaps are of different sizes (destination size is 8388608, source size is"
                  + " 4194304) and can't be merged");
    }
  }

  @Test
  void aResizeIsFollowedAndWhatIsNewIsDirty() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    Qemu.img("bitmap", "--add", file, "frozen");
    Qemu.io(file, List.of("write 1M 64k", "write 3M 64k"));
    Qemu.img("bitmap", "--disable", file, "frozen");
    try (Image image = TestImages.open(file)) {
      image.resize(2 << 20, Preallocation.OFF, true);
      // As a killed process would leave it.
      Path left = folder.resolve("left.qcow2");
      Files.copy(file, left);
      Qemu.check(left).withoutErrors();
      Qemu.io(left, List.of("write 0 64k"));
      assertThat(StoredBitmap.read(left).get(1).bits().stream()).containsExactly(16);
      assertThat(StoredBitmap.read(left).get(0).inUse()).isTrue();
      image.resize(512L << 20, Preallocation.OFF, false);
      image.resize(3 << 20, Preallocation.OFF, true);
      image.write(TestImages.filled(1, 1), 0);
      assertThat(Qcow2.bitmaps(image).dirtyExtents("frozen"))
          .containsExactly(new Range(1 << 20, 65536));
    }
    assertThat(StoredBitmap.read(file).get(0).bits().stream())
        .containsExactly(0, 16, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47);
    assertThat(StoredBitmap.read(file).get(1).bits().stream()).containsExactly(16);
    Qemu.check(file).clean();
    Qemu.io(file, List.of("write 0 64k"));
    Qemu.check(file).clean();
  }

  @Test
  void staleBitmapsCanBeRemovedAndNothingElse() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    setFlags(3);
    try (Image image = TestImages.open(file)) {
      Bitmaps bitmaps = Qcow2.bitmaps(image);
      assertThat(bitmaps.list()).containsExactly(new BitmapInfo("b0", 65536, true, true));
      for (Use use :
          List.<Use>of(
              () -> bitmaps.clear("b0"),
              () -> bitmaps.enable("b0"),
              () -> bitmaps.disable("b0"),
              () -> bitmaps.merge("b0", "b0"),
              () -> bitmaps.dirtyBytes("b0"),
              () -> image.resize(2 * SIZE, Preallocation.OFF, false))) {
        assertThatThrownBy(use::run)
            .isInstanceOf(UnsupportedFeatureException.class)
            .hasMessageEndingWith("Bitmap 'b0' is inconsistent and cannot be used");
      }
      image.write(TestImages.filled(1, 1), 0);
    }
    assertThat(only().flags()).isEqualTo(3);
    try (Image image = TestImages.open(file)) {
      Qcow2.bitmaps(image).remove("b0");
    }
    Qemu.check(file).clean();
  }

  private interface Use {
    void run() throws IOException;
  }

  @Test
  void aBitmapThatIsNotUnderstoodIsMarkedStaleByTheFirstChange() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    setFlags(2 | 8);
    try (Image image = TestImages.open(file)) {
      assertThat(Qcow2.bitmaps(image).list().getFirst().inconsistent()).isTrue();
      image.write(TestImages.filled(1, 1), 0);
    }
    assertThat(only().flags()).isEqualTo(1 | 2 | 8);
  }

  @Test
  void aBitmapWhoseBitsCannotBeReadIsMarkedStaleByTheFirstChange() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    Qemu.io(file, List.of("write 0 64k"));
    long table = TestImages.word(file, directory());
    TestImages.setWord(file, table, TestImages.word(file, table) | 2);
    try (Image image = TestImages.open(file)) {
      assertThatThrownBy(() -> Qcow2.bitmaps(image).dirtyBytes("b0"))
          .hasMessageContaining("breaks the format");
      image.write(TestImages.filled(1, 1), 0);
      assertThat(Qcow2.bitmaps(image).list().getFirst().inconsistent()).isTrue();
    }
    assertThat(only().inUse()).isTrue();
  }

  @Test
  void bitsBehindTheEndOfACutFileAreNotTakenForZeroes() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    Qemu.io(file, List.of("write 0 64k"));
    long table = TestImages.word(file, directory());
    TestImages.setWord(file, table, 1L << 40);
    try (Image image = TestImages.openReadOnly(file)) {
      assertThatThrownBy(() -> Qcow2.bitmaps(image).dirtyBytes("b0"))
          .hasMessageContaining("behind the file's end");
    }
  }

  @Test
  void withoutTheAutoclearBitThereAreNoBitmapsAndNewOnesCanBeMade() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    TestImages.setWord(file, Header.AT_AUTOCLEAR, 0);
    try (Image image = TestImages.open(file)) {
      assertThat(Qcow2.bitmaps(image).list()).isEmpty();
      image.write(TestImages.filled(1, 1), 0);
      Qcow2.bitmaps(image).add("b1", 65536, true);
    }
    assertThat(only().name()).isEqualTo("b1");
    Qemu.check(file).withoutErrors();
  }

  @Test
  void theAutoclearBitWithoutTheExtensionIsClearedByTheFirstChange() throws Exception {
    TestImages.setWord(file, Header.AT_AUTOCLEAR, 1);
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(1, 1), 0);
    }
    assertThat(TestImages.word(file, Header.AT_AUTOCLEAR)).isZero();
    Qemu.check(file).clean();
  }

  @Test
  void whatCannotBeMadeIsRefusedAndNothingIsWritten() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    byte[] before = Files.readAllBytes(file);
    try (Image image = TestImages.open(file)) {
      Bitmaps bitmaps = Qcow2.bitmaps(image);
      refused(() -> bitmaps.add("b0", 512, true), "Bitmap already exists: b0");
      refused(() -> bitmaps.add("", 512, true), "Bitmap name cannot be empty");
      refused(() -> bitmaps.add("x".repeat(1024), 512, true), "Bitmap name too long");
      refused(() -> bitmaps.add("x", 256, true), "Granularity must be power of 2 and at least 512");
      refused(
          () -> bitmaps.add("x", 1L << 32, true),
          "Granularity must be power of 2 and at least 512");
      refused(() -> bitmaps.add("x", 768, true), "Granularity must be power of 2 and at least 512");
      refused(() -> bitmaps.remove("x"), "Dirty bitmap 'x' not found");
      refused(() -> bitmaps.merge("b0", "x"), "Dirty bitmap 'x' not found");
      refused(() -> bitmaps.merge("x", "b0"), "Dirty bitmap 'x' not found");
      refused(
          () -> image.resize(0, Preallocation.OFF, true),
          "bitmap 'b0': a disk of 0 bytes cannot have bitmaps");
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
    Path old = folder.resolve("v2.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "compat=0.10", old, SIZE);
    try (Image image = TestImages.open(old)) {
      assertThatThrownBy(() -> Qcow2.bitmaps(image).add("x", 512, true))
          .isInstanceOf(UnsupportedFeatureException.class)
          .hasMessageContaining("Cannot store dirty bitmaps in qcow2 v2 files");
    }
    Path large = folder.resolve("large.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", large, "4T");
    try (Image image = TestImages.open(large)) {
      refused(
          () -> Qcow2.bitmaps(image).add("x", 512, true),
          "Too much space will be occupied by the bitmap. Use larger granularity");
      Qcow2.bitmaps(image).add("x", 1024, true);
      image.write(TestImages.filled(1, 1), 3L << 40);
      assertThat(Qcow2.bitmaps(image).dirtyExtents("x")).containsExactly(new Range(3L << 40, 1024));
    }
    Qemu.check(large).clean();
  }

  private static void refused(Use use, String message) {
    assertThatThrownBy(use::run).isInstanceOf(IllegalArgumentException.class).hasMessage(message);
  }

  @Test
  void invalidatingTheCacheStoresAndReadsAnew() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(1, 1), 0);
      image.invalidateCache();
      assertThat(only().flags()).isEqualTo(2);
      image.write(TestImages.filled(1, 1), 1 << 20);
      assertThat(only().flags()).isEqualTo(3);
    }
    assertThat(only().bits().stream()).containsExactly(0, 16);
    Qemu.check(file).clean();
  }

  private StoredBitmap only() throws IOException {
    List<StoredBitmap> all = StoredBitmap.read(file);
    assertThat(all).hasSize(1);
    return all.getFirst();
  }

  /** Where the directory is; qemu-img puts its extension at 0x1f8. */
  private long directory() throws IOException {
    return TestImages.word(file, 0x210);
  }

  /** Every storage call of storing bitmaps at the end fails once. */
  @Test
  void whicheverCallOfTheStoringAtCloseFailsItIsToldAndNoBitmapLies() throws Exception {
    Path start = folder.resolve("start.qcow2");
    Qemu.img("bitmap", "--add", "-g", "4k", file, "b0");
    Qemu.img("bitmap", "--add", "-g", "64k", file, "b1");
    Qemu.img("bitmap", "--add", "--disable", file, "frozen");
    Qemu.io(file, List.of("write -P 1 0 64k"));
    Files.copy(file, start);
    int failures = 0;
    for (StorageCall call : List.of(StorageCall.WRITE, StorageCall.WRITEV, StorageCall.FLUSH)) {
      for (int number = 1; failsAtClose(start, call, number); number++) {
        failures++;
      }
    }
    assertThat(failures).isGreaterThan(5);
  }

  /** Whether the call that was to fail was made at all. */
  private boolean failsAtClose(Path start, StorageCall call, int number) throws Exception {
    Files.copy(start, file, StandardCopyOption.REPLACE_EXISTING);
    FaultyStorage faulty = TestImages.faulty(file);
    Image image = TestImages.open(faulty);
    image.write(TestImages.filled(8 * KIB, 2), 1 << 20);
    image.flush();
    long before = faulty.calls(call);
    faulty.failNth(call, before + number);
    String what = call + " " + number;
    boolean told = false;
    try {
      image.close();
    } catch (IOException e) {
      assertThat(e).as(what).hasMessageContaining("Input/output error");
      told = true;
    }
    boolean made = faulty.calls(call) >= before + number;
    assertThat(told).as(what).isEqualTo(made);
    for (StoredBitmap bitmap : StoredBitmap.read(file)) {
      if (bitmap.name().equals("frozen")) {
        assertThat(bitmap.inUse()).as(what).isFalse();
      } else if (!bitmap.inUse()) {
        assertThat(bitmap.dirty(0)).as(what + bitmap).isTrue();
        assertThat(bitmap.dirty(1 << 20)).as(what + bitmap).isTrue();
      }
    }
    assertThat(StoredBitmap.read(file)).as(what).hasSize(3);
    Qemu.io(file, List.of("read -P 1 0 64k", "read -P 2 1M 8k"));
    // What was taken for the bitmaps may be leaked, and is all that a repair has to do.
    Tool.run("qemu-img", "check", "-q", "-r", "leaks", file);
    Qemu.check(file).clean();
    return made;
  }

  @Test
  void thereAreNoMoreThan65535Bitmaps() throws Exception {
    Files.delete(file);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", file, SIZE);
    List<Bitmap> many = new ArrayList<>();
    try (Image image = TestImages.open(file)) {
      for (int i = 0; i < 65_534; i++) {
        many.add(Bitmap.made(Bytes.of("b" + i), 16, false, SIZE));
      }
      Bitmaps bitmaps = Qcow2.bitmaps(image);
      bitmaps.directory.store(many, false); // one by one it would take hours
      bitmaps.add("last", 65536, false);
      assertThatThrownBy(() -> bitmaps.add("one more", 65536, false))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("Maximum number of persistent bitmaps is already reached");
      assertThat(bitmaps.list()).hasSize(65_535);
      bitmaps.remove("b7");
      bitmaps.add("one more", 65536, false);
    }
    try (Image image = TestImages.openReadOnly(file)) {
      assertThat(Qcow2.bitmaps(image).list())
          .hasSize(65_535)
          .last()
          .isEqualTo(new BitmapInfo("one more", 65536, false, false));
    }
    try (FileStorage storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      assertThat(Qcow2.check(storage, Progress.NONE).clean()).isTrue();
    }
  }

  private void setFlags(int flags) throws IOException {
    try (RandomAccessFile open = new RandomAccessFile(file.toFile(), "rw")) {
      open.seek(directory() + 12);
      open.writeInt(flags);
    }
  }
}
