package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Compact;
import dev.imago.Snapshots;
import dev.imago.image.CompactResult;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Progress;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.Stamp;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A compacted image holds what it held in a file without holes, and QEMU finds nothing wrong. */
class CompactTest {
  private static final int SIZE = 8 << 20;

  @TempDir private Path folder;

  private Path image(String options) throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, SIZE);
    return file;
  }

  private static CompactResult compact(Path file) throws IOException {
    try (Image image = TestImages.open(file)) {
      return Compact.run(image, Progress.NONE);
    }
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      value = {
        "cluster_size=65536",
        "cluster_size=4096,refcount_bits=1",
        "cluster_size=512,refcount_bits=64",
        "cluster_size=4096,compat=0.10",
        "cluster_size=16384,extended_l2=on",
      })
  void whatIsFreeInTheMiddleIsSaved(String options) throws Exception {
    Path file = image(options);
    byte[] disk = Stamp.bytes(1, 0, SIZE, 1);
    try (Image image = TestImages.open(file)) {
      image.write(ByteBuffer.wrap(disk), 0);
      image.discard(0, SIZE - (1 << 20), Discard.TO_ZERO);
    }
    Arrays.fill(disk, 0, SIZE - (1 << 20), (byte) 0);
    long before = Files.size(file);
    assertThat(before).isGreaterThan(SIZE);

    CompactResult result = compact(file);

    // Long tables may find no place that is long enough.
    assertThat(result.leftInPlace()).allMatch(reason -> reason.contains("stay free"));
    assertThat(result.sizeBefore()).isEqualTo(before);
    assertThat(Files.size(file)).isEqualTo(result.sizeAfter()).isLessThan(2 << 20);
    assertThat(result.movedBytes()).isGreaterThanOrEqualTo(1 << 19);
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("scratch"))).isEqualTo(disk);
    // Nothing is left to do, and the image can be written to.
    assertThat(compact(file).movedBytes()).isLessThan(1 << 16);
    Qemu.io(file, List.of("write -P 5 0 1M"));
    Qemu.check(file).clean();
  }

  @Test
  void snapshotsAreMovedWithAllThatIsShared() throws Exception {
    Path file = image("cluster_size=4096");
    byte[] first = Stamp.bytes(1, 0, SIZE, 1);
    byte[] disk = first.clone();
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(SIZE, 9), 0);
      Snapshots.create(image, "gone", Instant.EPOCH);
      image.write(ByteBuffer.wrap(first), 0);
      Snapshots.create(image, "first", Instant.EPOCH);
      byte[] later = Stamp.bytes(2, 0, 1 << 20, 2);
      image.write(ByteBuffer.wrap(later), 1 << 20);
      System.arraycopy(later, 0, disk, 1 << 20, later.length);
      Snapshots.create(image, "second", Instant.EPOCH);
      image.write(TestImages.filled(1 << 20, 7), 0);
      Arrays.fill(disk, 0, 1 << 20, (byte) 7);
      Snapshots.delete(image, "gone");
    }

    CompactResult result = compact(file);

    assertThat(result.sizeBefore() - result.sizeAfter()).isGreaterThan(SIZE * 3 / 4);
    assertThat(result.leftInPlace()).isEmpty();
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("scratch"))).isEqualTo(disk);
    assertThat(snapshot(file, "first")).isEqualTo(first);
    try (Image image = TestImages.open(file)) {
      Snapshots.delete(image, "first");
      Snapshots.apply(image, "second");
    }
    Qemu.check(file).clean();
  }

  private byte[] snapshot(Path file, String name) throws Exception {
    Path raw = folder.resolve("snapshot.raw");
    Qemu.img("convert", "-f", "qcow2", "-l", name, "-O", "raw", file, raw);
    byte[] bytes = Files.readAllBytes(raw);
    Files.delete(raw);
    return bytes;
  }

  @Test
  void compressedClustersAndBitmapsStayAndThatIsSaid() throws Exception {
    Path raw = folder.resolve("raw");
    byte[] disk = Stamp.bytes(1, 0, SIZE, 1);
    Files.write(raw, disk);
    Path file = folder.resolve("image.qcow2");
    Qemu.img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, file);
    Qemu.io(file, List.of("write -P 1 0 4M", "discard 0 4M"));
    Arrays.fill(disk, 0, 4 << 20, (byte) 0);
    Qemu.img("bitmap", "--add", file, "b0");

    CompactResult result = compact(file);

    assertThat(result.sizeAfter()).isLessThanOrEqualTo(result.sizeBefore());
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("scratch"))).isEqualTo(disk);
    assertThat(Qemu.img("info", file)).contains("name: b0").doesNotContain("in-use");
  }

  @Test
  void theFileIsCutOffAtCloseBehindTheLastClusterInUse() throws Exception {
    Path file = image("cluster_size=65536");
    long empty;
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(1, 1), 0);
      image.flush();
      empty = (Files.size(file) + 65535) / 65536 * 65536;
      image.write(TestImages.filled(SIZE - 65536, 1), 65536);
      image.flush();
      assertThat(Files.size(file)).isGreaterThan(SIZE);
      image.discard(65536, SIZE - 65536, Discard.TO_ZERO);
    }
    assertThat(Files.size(file)).isLessThanOrEqualTo(empty);
    Qemu.check(file).clean();
    byte[] before = Files.readAllBytes(file);
    try (Image image = TestImages.open(file)) {
      assertThat(TestImages.read(image, 0, 1)).containsOnly(1);
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  /** Every storage call of compacting fails once. */
  @Test
  void whicheverCallFailsEveryByteIsStillThere() throws Exception {
    Path start = image("cluster_size=4096");
    byte[] first = Stamp.bytes(1, 0, SIZE / 8, 1);
    byte[] disk = Arrays.copyOf(first, SIZE);
    try (Image image = TestImages.open(start)) {
      image.write(TestImages.filled(SIZE / 4, 1), SIZE / 2);
      image.write(ByteBuffer.wrap(first), 0);
      Snapshots.create(image, "first", Instant.EPOCH);
      image.discard(SIZE / 2, SIZE / 4, Discard.TO_ZERO);
      image.write(TestImages.filled(SIZE / 16, 3), 0);
      Snapshots.create(image, "second", Instant.EPOCH);
      Snapshots.delete(image, "first");
    }
    Arrays.fill(disk, 0, SIZE / 16, (byte) 3);
    int failures = 0;
    for (StorageCall call : List.of(StorageCall.WRITE, StorageCall.READ, StorageCall.FLUSH)) {
      for (int number = 1; number <= 400; number += call == StorageCall.FLUSH ? 1 : 13) {
        Path file = folder.resolve("failing.qcow2");
        Files.copy(start, file, StandardCopyOption.REPLACE_EXISTING);
        FaultyStorage faulty = TestImages.faulty(file);
        boolean failed = false;
        try (Image image = TestImages.open(faulty)) {
          faulty.failNth(call, (int) faulty.calls(call) + number);
          Compact.run(image, Progress.NONE);
        } catch (IOException e) {
          assertThat(e).hasMessageContaining("Input/output error");
          failed = true;
        }
        if (!failed) {
          break;
        }
        failures++;
        Qemu.check(file).withoutErrors();
        assertThat(Qemu.read(file, folder.resolve("scratch"))).isEqualTo(disk);
        assertThat(snapshot(file, "second")).isEqualTo(disk);
      }
    }
    assertThat(failures).isGreaterThan(10);
  }
}
