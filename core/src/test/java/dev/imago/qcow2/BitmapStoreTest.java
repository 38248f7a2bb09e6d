package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.UnsupportedFeatureException;
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
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the disk says of bitmaps while we write and afterwards, and bad things that it may say. */
class BitmapStoreTest {
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

  @Test
  void staleBitmapsCanBeRemovedAndNothingElse() throws Exception {
    Qemu.img("bitmap", "--add", file, "b0");
    setFlags(3);
    try (Image image = TestImages.open(file)) {
      Bitmaps bitmaps = Qcow2.bitmaps(image);
      assertThat(bitmaps.list()).containsExactly(new BitmapInfo("b0", 65536, true, true));
      for (ThrowingCallable use :
          List.<ThrowingCallable>of(
              () -> bitmaps.clear("b0"),
              () -> bitmaps.enable("b0"),
              () -> bitmaps.disable("b0"),
              () -> bitmaps.merge("b0", "b0"),
              () -> bitmaps.dirtyBytes("b0"),
              () -> image.resize(2 * SIZE, Preallocation.OFF, false))) {
        assertThatThrownBy(use)
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

  private StoredBitmap only() throws IOException {
    List<StoredBitmap> all = StoredBitmap.read(file);
    assertThat(all).hasSize(1);
    return all.getFirst();
  }

  /** Where the directory is; qemu-img puts its extension at 0x1f8. */
  private long directory() throws IOException {
    return TestImages.word(file, 0x210);
  }

  private void setFlags(int flags) throws IOException {
    try (RandomAccessFile open = new RandomAccessFile(file.toFile(), "rw")) {
      open.seek(directory() + 12);
      open.writeInt(flags);
    }
  }
}
