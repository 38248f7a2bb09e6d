package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.OpenOptions;
import dev.imago.Snapshots;
import dev.imago.image.Image;
import dev.imago.image.NoSuchSnapshotException;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.References;
import dev.imago.image.Snapshot;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a snapshot is called, when it is refused, and what happens when something fails. */
class SnapshotTest {
  private static final int CLUSTER = 65536;
  private static final int SIZE = 1 << 20;
  private static final Instant DATE = Instant.ofEpochSecond(1_700_000_000, 123_456_789);

  @TempDir private Path folder;

  private Path image(String options) throws Exception {
    Path file = folder.resolve("image.qcow2");
    Files.deleteIfExists(file);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "compat=1.1" + options, file, SIZE);
    return file;
  }

  private static byte[] at(Path file, String snapshot, int length) throws IOException {
    OpenOptions options = OpenOptions.of(References.deny()).snapshot(snapshot);
    try (Image image = dev.imago.Images.open(file, options)) {
      return TestImages.read(image, 0, length);
    }
  }

  @Test
  void anIdIsOneMoreThanTheLargestAndANameNeedNotBeUnique() throws Exception {
    Path file = image("");
    try (Image image = TestImages.open(file)) {
      assertThat(Snapshots.create(image, "a", DATE).id()).isEqualTo("1");
      assertThat(Snapshots.create(image, "a", DATE).id()).isEqualTo("2");
      Snapshots.delete(image, "1");
      assertThat(Snapshots.create(image, "2", DATE).id()).isEqualTo("3");
      assertThat(Snapshots.list(image)).extracting(Snapshot::id).containsExactly("2", "3");
      // The id comes first: this deletes the one called a.
      Snapshots.delete(image, "2");
      assertThat(Snapshots.list(image)).extracting(Snapshot::name).containsExactly("2");
    }
    assertThat(Qemu.img("snapshot", "-l", file)).contains("3         2");
    Qemu.check(file).clean();
  }

  @Test
  void aSnapshotSaysWhatItIsAndQemuSeesTheSame() throws Exception {
    Path file = image("");
    Snapshot made;
    try (Image image = TestImages.open(file)) {
      made = Snapshots.create(image, "näme", DATE);
    }
    assertThat(made).isEqualTo(new Snapshot("1", "näme", DATE, 0, 0, 0, SIZE));
    try (Image image = TestImages.openReadOnly(file)) {
      assertThat(Snapshots.list(image)).containsExactly(made);
    }
    assertThat(Qemu.img("info", "--output=json", file))
        .contains("\"date-sec\": 1700000000", "\"date-nsec\": 123456789", "n\\u00E4me");
  }

  @Test
  void whatIsNotThereIsNeitherAppliedNorDeletedNorOpened() throws Exception {
    Path file = image("");
    byte[] before = Files.readAllBytes(file);
    try (Image image = TestImages.open(file)) {
      assertThatThrownBy(() -> Snapshots.apply(image, "no"))
          .isInstanceOf(NoSuchSnapshotException.class)
          .hasMessageContaining("there is no snapshot 'no'");
      assertThatThrownBy(() -> Snapshots.delete(image, "no"))
          .isInstanceOf(NoSuchSnapshotException.class);
    }
    assertThatThrownBy(() -> at(file, "no", 1)).isInstanceOf(NoSuchSnapshotException.class);
    try (Image image = TestImages.openReadOnly(file)) {
      assertThatThrownBy(() -> Snapshots.create(image, "a"))
          .isInstanceOf(ReadOnlyImageException.class);
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  @Test
  void aSnapshotHasTheSizeOfItsDayAndApplyingBringsItBack() throws Exception {
    Path file = image("");
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(SIZE, 1), 0);
      Snapshots.create(image, "short", DATE);
      image.resize(2 * SIZE, Preallocation.OFF, false);
      image.write(TestImages.filled(SIZE, 2), SIZE);
      Snapshots.create(image, "long", DATE);
      Snapshots.apply(image, "short");
      assertThat(image.size()).isEqualTo(SIZE);
      image.resize(2 * SIZE, Preallocation.OFF, false);
      assertThat(TestImages.read(image, SIZE, SIZE)).containsOnly(0);
      Snapshots.apply(image, "long");
      assertThat(image.size()).isEqualTo(2 * SIZE);
      assertThat(TestImages.read(image, SIZE, SIZE)).containsOnly(2);
    }
    assertThat(at(file, "short", SIZE)).containsOnly(1);
    assertThatThrownBy(() -> at(file, "short", SIZE + 1))
        .isInstanceOf(IndexOutOfBoundsException.class);
    Qemu.check(file).clean();
  }

  @Test
  void countsThatWouldOverflowRefuseBeforeAnythingIsChanged() throws Exception {
    Path file = image(",refcount_bits=1");
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(CLUSTER, 1), 0);
      image.flush();
      assertThatThrownBy(() -> Snapshots.create(image, "a"))
          .isInstanceOf(UnsupportedFeatureException.class)
          .hasMessageContaining("1 bits are not enough");
      image.write(TestImages.filled(CLUSTER, 2), CLUSTER);
    }
    Qemu.check(file).clean();
    file = image(",refcount_bits=2");
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(CLUSTER, 1), 0);
      Snapshots.create(image, "a");
      Snapshots.create(image, "b");
      assertThatThrownBy(() -> Snapshots.create(image, "c"))
          .isInstanceOf(UnsupportedFeatureException.class);
      // What both disks share keeps its count, so this fits.
      Snapshots.apply(image, "a");
      assertThat(Snapshots.list(image)).hasSize(2);
    }
    Qemu.check(file).clean();
  }

  @Test
  void anImageWithADataFileIsRefused() throws Exception {
    Path file = image(",data_file=" + folder.resolve("data"));
    try (Image image = TestImages.open(file)) {
      assertThatThrownBy(() -> Snapshots.create(image, "a"))
          .isInstanceOf(UnsupportedFeatureException.class)
          .hasMessageContaining("an image with a data file cannot have internal snapshots");
    }
  }

  @Test
  void bitmapsStayWhenASnapshotIsMadeAndRefuseThatOneIsApplied() throws Exception {
    Path file = image("");
    Qemu.img("bitmap", "--add", file, "b0");
    try (Image image = TestImages.open(file)) {
      Snapshots.create(image, "a", DATE);
      assertThatThrownBy(() -> Snapshots.apply(image, "a"))
          .isInstanceOf(UnsupportedFeatureException.class)
          .hasMessageContaining("Device has active dirty bitmaps");
      Snapshots.create(image, "b", DATE);
      Snapshots.delete(image, "b");
    }
    assertThat(Qemu.img("info", file)).contains("name: b0").doesNotContain("in-use");
    Qemu.check(file).clean();
  }

  /** It grew the file by 100 GB, looking for a place between the blocks that it made. */
  @Test
  void aTableLongerThanWhatOneRefcountBlockCountsFindsItsPlace() throws Exception {
    Path file = folder.resolve("small-clusters.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", file, "1G");
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(CLUSTER, 1), 0);
      Snapshots.create(image, "first", DATE);
      image.write(TestImages.filled(CLUSTER, 2), 0);
      Snapshots.create(image, "second", DATE);
      image.resize(2L << 30, dev.imago.storage.Storage.Preallocation.OFF, false);
      image.write(TestImages.filled(CLUSTER, 3), (2L << 30) - CLUSTER);
      Snapshots.apply(image, "first");
      Snapshots.delete(image, "second");
    }

    assertThat(Files.size(file)).isLessThan(8 << 20);
    Qemu.check(file).clean();
    Qemu.io(file, java.util.List.of("read -P 1 0 " + CLUSTER));
  }

  @Test
  void unknownExtraDataAndVmStateOfOthersAreKept() throws Exception {
    Path file = image("");
    Qemu.img("snapshot", "-c", "vm", file);
    long table = TestImages.word(file, 64);
    // 8 bytes of extra data more than are known: id and name move up.
    byte[] tail = new byte[16];
    ByteBuffer.wrap(tail).putLong(0x1122334455667788L).put((byte) '7').put("vm".getBytes("UTF-8"));
    try (var raw = new java.io.RandomAccessFile(file.toFile(), "rw")) {
      raw.seek(table + 36);
      raw.writeInt(32);
      raw.writeLong(5_000_000_000L);
      raw.seek(table + 64);
      raw.write(tail);
    }
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(CLUSTER, 1), 0);
      assertThat(Snapshots.create(image, "new", DATE).id()).isEqualTo("8");
      Snapshot kept = Snapshots.list(image).getFirst();
      assertThat(kept.id()).isEqualTo("7");
      assertThat(kept.vmStateSize()).isEqualTo(5_000_000_000L);
    }
    long now = TestImages.word(file, 64);
    assertThat(now).isNotEqualTo(table);
    assertThat(TestImages.word(file, now + 64)).isEqualTo(0x1122334455667788L);
    Qemu.check(file).clean();
  }

  @Test
  void aSnapshotWhoseTablesAreBadIsRefusedAndNothingIsChanged() throws Exception {
    Path file = image("");
    Qemu.io(file, List.of("write -P 1 0 128k"));
    Qemu.img("snapshot", "-c", "bad", file);
    long entry = TestImages.word(file, 64);
    long l1 = TestImages.word(file, entry);
    long table = TestImages.word(file, l1) & Geometry.OFFSET_MASK;
    for (long[] damage :
        new long[][] {
          {entry, l1 + 512},
          {entry, 0},
          {l1, table + 512},
          {l1, 1L << 40},
          {table, (TestImages.word(file, table) & Geometry.OFFSET_MASK) + 512},
          {table, 1L << 40}
        }) {
      long before = TestImages.word(file, damage[0]);
      TestImages.setWord(file, damage[0], damage[1]);
      byte[] bytes = Files.readAllBytes(file);
      try (Image image = TestImages.openReadOnly(file)) {
        assertThat(Snapshots.list(image)).hasSize(1);
      }
      for (String what : List.of("apply", "delete")) {
        assertThatThrownBy(
                () -> {
                  try (Image image = TestImages.open(file)) {
                    if (what.equals("apply")) {
                      Snapshots.apply(image, "bad");
                    } else {
                      Snapshots.delete(image, "bad");
                    }
                  }
                })
            .isInstanceOfAny(
                dev.imago.image.CorruptImageException.class,
                dev.imago.image.ImageFormatException.class);
        assertThat(Files.readAllBytes(file)).isEqualTo(bytes);
      }
      TestImages.setWord(file, damage[0], before);
    }
    Qemu.check(file).clean();
  }

  /** Every storage call of making, applying and deleting fails once. */
  @Test
  void whicheverCallFailsTheSnapshotsStayWhole() throws Exception {
    Path start = image(",cluster_size=4096");
    try (Image image = TestImages.open(start)) {
      image.write(TestImages.filled(SIZE / 2, 1), 0);
      Snapshots.create(image, "first", DATE);
      image.write(TestImages.filled(SIZE / 4, 2), 0);
    }
    byte[] first = new byte[SIZE];
    Arrays.fill(first, 0, SIZE / 2, (byte) 1);
    byte[] disk = first.clone();
    Arrays.fill(disk, 0, SIZE / 4, (byte) 2);
    int failures = 0;
    for (StorageCall call : StorageCall.values()) {
      for (int number = 1; number <= 60; number++) {
        Path file = folder.resolve("failing.qcow2");
        Files.copy(start, file, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
        if (!failing(file, call, number, first, disk)) {
          break;
        }
        failures++;
      }
    }
    assertThat(failures).isGreaterThan(30);
  }

  /** Whether the call that was to fail was made at all. */
  private boolean failing(Path file, StorageCall call, int number, byte[] first, byte[] disk)
      throws Exception {
    FaultyStorage faulty = TestImages.faulty(file);
    List<byte[]> allowed = new ArrayList<>(List.of(disk));
    try (Image image = TestImages.open(faulty)) {
      faulty.failNth(call, (int) faulty.calls(call) + number);
      Snapshots.create(image, "second", DATE);
      allowed.add(first);
      Snapshots.apply(image, "first");
      allowed.remove(disk);
      Snapshots.delete(image, "second");
    } catch (IOException e) {
      assertThat(e).hasMessageContaining("Input/output error");
    }
    boolean made = faulty.calls(call) >= number;
    String what = "%s %d".formatted(call, number);
    try (Image image = TestImages.openReadOnly(file)) {
      byte[] now = TestImages.read(image, 0, SIZE);
      assertThat(allowed.stream().anyMatch(each -> Arrays.equals(each, now))).as(what).isTrue();
      for (Snapshot snapshot : Snapshots.list(image)) {
        byte[] wanted = snapshot.name().equals("first") ? first : disk;
        assertThat(at(file, snapshot.id(), SIZE)).as(what + snapshot).isEqualTo(wanted);
      }
      assertThat(Snapshots.list(image)).extracting(Snapshot::name).contains("first");
    }
    // Leaks and stale flags may be left, and are all that a repair has to do.
    dev.imago.testing.Tool.run("qemu-img", "check", "-q", "-r", "all", file);
    Qemu.check(file).clean();
    assertThat(at(file, "first", SIZE)).as(what).isEqualTo(first);
    return made && faulty.calls(call) > 0;
  }

  @Test
  void snapshotsAreMadeAndDeletedWhileOthersWrite() throws Exception {
    Path file = image(",cluster_size=4096");
    AtomicBoolean stop = new AtomicBoolean();
    AtomicReference<Throwable> failure = new AtomicReference<>();
    List<Thread> writers = new ArrayList<>();
    try (Image image = TestImages.open(file)) {
      for (int t = 0; t < 4; t++) {
        int mine = t;
        writers.add(
            Thread.ofPlatform()
                .start(
                    () -> {
                      try {
                        // Each pass makes the thread's quarter one value, front to back.
                        for (int value = 1; !stop.get() && value < 100; value++) {
                          for (int at = 0; at < SIZE / 4; at += 8192) {
                            image.write(TestImages.filled(8192, value), mine * (SIZE / 4) + at);
                          }
                        }
                      } catch (IOException | RuntimeException e) {
                        failure.set(e);
                      }
                    }));
      }
      for (int i = 0; i < 12; i++) {
        Snapshots.create(image, "s" + i, DATE);
        if (i % 3 == 2) {
          Snapshots.delete(image, "s" + (i - 1));
        }
      }
      stop.set(true);
      for (Thread writer : writers) {
        writer.join();
      }
    }
    assertThat(failure.get()).isNull();
    Qemu.check(file).clean();
    for (int i = 0; i < 12; i++) {
      if (i % 3 != 1) {
        requireOneMoment(at(file, "s" + i, SIZE));
      }
    }
  }

  /** A quarter is one value, then the value before it: never a write of later, never a torn one. */
  private static void requireOneMoment(byte[] disk) {
    for (int quarter = 0; quarter < 4; quarter++) {
      int from = quarter * (SIZE / 4);
      int latest = disk[from];
      for (int at = from; at < from + SIZE / 4; at += 512) {
        int value = disk[at];
        assertThat(value).isIn(latest, latest - 1);
        assertThat(disk[at]).isEqualTo(disk[at / 8192 * 8192]);
        latest = value;
        if (value != disk[from]) {
          assertThat(value).isEqualTo(disk[from] - 1);
        }
      }
    }
  }
}
