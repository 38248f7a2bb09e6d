package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Snapshot;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.Qemu;
import dev.imago.testing.Stamp;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Snapshots are made, applied and deleted, and the disk is written to, by us and by QEMU's tools in
 * turn, on one file. Now and then, and at the end, every snapshot holds what it held, and nothing
 * is leaked.
 */
class SnapshotScriptTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int STEPS = LONG ? 200 : 40;
  private static final int SEEDS = LONG ? 5 : 1;
  private static final int EVERY = 20;
  private static final int MAX_SNAPSHOTS = 6;

  @TempDir private Path folder;

  /** A snapshot that should be there. */
  private record Kept(String id, String name, byte[] disk) {}

  private final List<Kept> kept = new ArrayList<>();
  private final List<String> log = new ArrayList<>();
  private Path file;
  private byte[] disk;
  private RandomGenerator random;
  private int version;
  private int clusterSize;

  /** Version 4 stands for version 3 with extended L2 entries. */
  @ParameterizedTest(name = "clusters {0}, v{1}, {2} bit counts, compressed: {3}")
  @CsvSource({
    "65536, 3, 16, false",
    "4096, 3, 16, true",
    "512, 3, 64, false",
    "4096, 2, 16, false",
    "1024, 3, 4, false",
    "16384, 4, 16, true"
  })
  void everySnapshotHoldsWhatItHeld(int clusterSize, int version, int bits, boolean compressed)
      throws Exception {
    this.version = version;
    this.clusterSize = clusterSize;
    for (long seed = 1; seed <= SEEDS; seed++) {
      random = new SplittableRandom(seed);
      kept.clear();
      log.clear();
      make(bits, compressed);
      try {
        for (int step = 1; step <= STEPS; step++) {
          step(step);
          if (step % EVERY == 0) {
            verify();
          }
        }
        verify();
      } catch (AssertionError | Exception e) {
        throw new AssertionError("seed %d: %s%n%s".formatted(seed, e, String.join("\n", log)), e);
      }
    }
  }

  private void make(int bits, boolean compressed) throws Exception {
    file = folder.resolve("disk.qcow2");
    Files.deleteIfExists(file);
    int size = clusterSize == 512 ? 256 << 10 : 1 << 20;
    disk = new byte[size];
    String options =
        "cluster_size=%d,compat=%s,refcount_bits=%d"
            .formatted(clusterSize, version == 2 ? "0.10" : "1.1", bits);
    if (version == 4) {
      options = "extended_l2=on,cluster_size=" + clusterSize;
    }
    if (compressed) {
      byte[] start = Stamp.bytes(1, 0, size / 2, 1);
      System.arraycopy(start, 0, disk, 0, start.length);
      Path raw = folder.resolve("start.raw");
      Files.write(raw, disk);
      Qemu.img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, file);
    } else {
      Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, size);
    }
  }

  private void step(int step) throws Exception {
    boolean ours = random.nextBoolean();
    int what = random.nextInt(10);
    if (what < 2 && kept.size() < MAX_SNAPSHOTS) {
      create("s" + random.nextInt(4), ours);
    } else if (what < 3 && !kept.isEmpty()) {
      apply(kept.get(random.nextInt(kept.size())), ours);
    } else if (what < 5 && !kept.isEmpty()) {
      delete(kept.get(random.nextInt(kept.size())), ours);
    } else if (what < 6 && version > 2) {
      resize(ours);
    } else {
      write(step, ours);
    }
  }

  private void say(boolean ours, String what) {
    log.add((ours ? "we: " : "qemu: ") + what);
  }

  private void create(String name, boolean ours) throws Exception {
    say(ours, "create " + name);
    int largest = kept.stream().mapToInt(each -> Integer.parseInt(each.id)).max().orElse(0);
    if (ours) {
      try (Image image = TestImages.open(file)) {
        Qcow2.createSnapshot(image, name, Instant.ofEpochSecond(1_700_000_000));
      }
    } else {
      Qemu.img("snapshot", "-c", name, file);
    }
    kept.add(new Kept(Integer.toString(largest + 1), name, disk.clone()));
  }

  private void apply(Kept snapshot, boolean ours) throws Exception {
    say(ours, "apply " + snapshot.id);
    if (ours) {
      try (Image image = TestImages.open(file)) {
        Qcow2.applySnapshot(image, snapshot.id);
        assertThat(image.size()).isEqualTo(snapshot.disk.length);
        assertThat(TestImages.read(image, 0, snapshot.disk.length)).isEqualTo(snapshot.disk);
      }
    } else {
      Qemu.img("snapshot", "-a", snapshot.id, file);
    }
    disk = snapshot.disk.clone();
  }

  private void delete(Kept any, boolean ours) throws Exception {
    Kept snapshot = any;
    if (!ours) {
      // qemu-img deletes by name alone: the first that has it.
      snapshot = kept.stream().filter(each -> each.name.equals(any.name)).findFirst().orElseThrow();
    }
    say(ours, "delete " + snapshot.id);
    if (ours) {
      try (Image image = TestImages.open(file)) {
        Qcow2.deleteSnapshot(image, snapshot.id);
      }
    } else {
      Qemu.img("snapshot", "-d", snapshot.name, file);
    }
    kept.remove(snapshot);
  }

  private void resize(boolean ours) throws Exception {
    int size = (1 + random.nextInt(8)) * (disk.length >= 1 << 20 ? 64 << 10 : 96 << 10);
    say(ours, "resize to " + size);
    if (ours) {
      try (Image image = TestImages.open(file)) {
        image.resize(size, Preallocation.OFF, true);
      }
    } else {
      Qemu.img("resize", "-q", "-f", "qcow2", "--shrink", file, size);
    }
    disk = Arrays.copyOf(disk, size);
  }

  private void write(int step, boolean ours) throws Exception {
    int length = Math.min(disk.length, 512 * (1 + random.nextInt(4 * clusterSize / 512)));
    int at = random.nextInt((disk.length - length) / 512 + 1) * 512;
    int value = random.nextInt(8) == 0 ? 0 : 1 + step % 255;
    say(ours, "write %d at 0x%x+0x%x".formatted(value, at, length));
    if (ours) {
      try (Image image = TestImages.open(file)) {
        if (value == 0) {
          image.writeZeroes(at, length, true, false);
        } else {
          image.write(TestImages.filled(length, value), at);
        }
      }
    } else {
      String how = value == 0 ? "write -z -u" : "write -P " + value;
      Qemu.io(file, List.of("%s %d %d".formatted(how, at, length)));
    }
    Arrays.fill(disk, at, at + length, (byte) value);
  }

  private void verify() throws Exception {
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("scratch"))).isEqualTo(disk);
    try (Image image = TestImages.openReadOnly(file)) {
      assertThat(TestImages.read(image, 0, disk.length)).isEqualTo(disk);
      assertThat(Qcow2.snapshots(image))
          .extracting(Snapshot::id)
          .containsExactlyElementsOf(kept.stream().map(Kept::id).toList());
      assertThat(Qcow2.snapshots(image))
          .extracting(Snapshot::name)
          .containsExactlyElementsOf(kept.stream().map(Kept::name).toList());
    }
    for (Kept each : kept) {
      assertThat(read(each.id, each.disk.length)).isEqualTo(each.disk);
      Path raw = folder.resolve("snapshot.raw");
      Qemu.img("convert", "-f", "qcow2", "-l", "snapshot.id=" + each.id, "-O", "raw", file, raw);
      // QEMU shows a snapshot with the size of the active disk.
      byte[] theirs = Arrays.copyOf(Files.readAllBytes(raw), each.disk.length);
      int both = Math.min(disk.length, each.disk.length);
      assertThat(Arrays.copyOf(theirs, both)).isEqualTo(Arrays.copyOf(each.disk, both));
    }
  }

  private byte[] read(String id, int size) throws IOException {
    var options = Qcow2OpenOptions.defaults().withSnapshot(id);
    var storage = FileStorage.open(file, FileStorage.Options.readOnly());
    try (Image image = Qcow2.open(storage, options, TestImages.FILES)) {
      assertThat(image.size()).isEqualTo(size);
      ByteBuffer bytes = ByteBuffer.allocate(size);
      image.read(bytes, 0);
      return bytes.array();
    }
  }
}
