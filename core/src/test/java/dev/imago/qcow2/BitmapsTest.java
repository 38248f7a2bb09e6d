package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.image.WritableRun;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
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
  void bitsAreReadAgainAfterSomebodyElseHasWritten() throws Exception {
    Qemu.img("bitmap", "--add", "-g", "64k", file, "b0");
    try (Image reader = TestImages.openWithoutLock(file)) {
      Bitmaps kept = Qcow2.bitmaps(reader);
      assertThat(kept.dirtyBytes("b0")).isZero();
      try (Image image = TestImages.open(file)) {
        image.write(TestImages.filled(1, 3), 0);
      }

      reader.invalidateCache();

      assertThat(kept.dirtyBytes("b0")).isEqualTo(64 * KIB);
    }
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

  private interface Use {
    void run() throws IOException;
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

  private StoredBitmap only() throws IOException {
    List<StoredBitmap> all = StoredBitmap.read(file);
    assertThat(all).hasSize(1);
    return all.getFirst();
  }
}
