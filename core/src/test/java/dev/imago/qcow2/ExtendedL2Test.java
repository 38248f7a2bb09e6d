package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Mapping;
import dev.imago.image.WritableRun;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.Qemu;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What becomes of the two words of an L2 entry, and what a write copies. */
class ExtendedL2Test {
  private static final int CLUSTER = 128 << 10;
  private static final int SUB = CLUSTER / 32;
  private static final long MIB = 1 << 20;

  @TempDir Path folder;

  private Path image(long size, String... work) throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", file, size);
    if (work.length > 0) {
      Qemu.io(file, List.of(work));
    }
    return file;
  }

  /** Over a raw file full of 9. */
  private Path overlay(long size, long behind, String... work) throws Exception {
    Path base = folder.resolve("base.raw");
    Files.write(base, filled((int) behind, 9).array());
    Path file = folder.resolve("image.qcow2");
    String options = "extended_l2=on,cluster_size=128k";
    Qemu.img("create", "-f", "qcow2", "-o", options, "-b", base, "-F", "raw", file, size);
    if (work.length > 0) {
      Qemu.io(file, List.of(work));
    }
    return file;
  }

  private static L2Entry entry(Path file, int cluster) throws Exception {
    long l1 = TestImages.word(file, 40);
    long l2 = TestImages.word(file, l1) & ~(1L << 63);
    return new L2Entry(
        TestImages.word(file, l2 + 16L * cluster), TestImages.word(file, l2 + 16L * cluster + 8));
  }

  /** The digest's example, written by us. */
  @Test
  void writesAndZeroesOfSubclustersStandInTheBitmap() throws Exception {
    Path file = image(MIB);
    try (Image image = TestImages.open(file)) {
      image.write(filled(SUB, 1), 0);
      image.write(filled(10, 2), 5 * SUB + 100);
      image.writeZeroes(10 * SUB, 2 * SUB, false, false);
    }
    assertThat(entry(file, 0).bitmap()).isEqualTo(0x21L);
    assertThat(entry(file, 0).descriptor()).isNegative();
    Qemu.check(file).clean();

    Path over = overlay(MIB, MIB);
    try (Image image = TestImages.open(over)) {
      image.write(filled(SUB, 1), 0);
      image.write(filled(10, 2), 5 * SUB + 100);
      image.writeZeroes(10 * SUB, 2 * SUB, true, false);
      image.writeZeroes(CLUSTER, CLUSTER, true, false);
      image.writeZeroes(2 * CLUSTER, SUB, true, false);
    }
    assertThat(entry(over, 0).bitmap()).isEqualTo(0x00000c0000000021L);
    assertThat(entry(over, 1)).isEqualTo(new L2Entry(0, 0xffffffff00000000L));
    assertThat(entry(over, 2)).isEqualTo(new L2Entry(0, 0x0000000100000000L));
    Qemu.check(over).clean();
    Qemu.io(
        over,
        List.of(
            "read -P 1 0 4k",
            "read -P 9 4k 16484",
            "read -P 2 20580 10",
            "read -P 9 20590 20370",
            "read -P 0 40k 8k",
            "read -P 9 48k 80k",
            "read -P 0 128k 132k",
            "read -P 9 260k 200k"));
  }

  @Test
  void aSecondSubclusterGoesIntoTheClusterThatIsThere() throws Exception {
    Path file = overlay(MIB, MIB, "write -P 1 0 4k");
    L2Entry before = entry(file, 0);
    try (Image image = TestImages.open(file)) {
      image.write(filled(100, 2), 40_000);
      assertThat(TestImages.read(image, 0, 4096)).containsOnly(1);
      assertThat(TestImages.read(image, 4096, 40_000 - 4096)).containsOnly(9);
      assertThat(TestImages.read(image, 40_000, 100)).containsOnly(2);
      assertThat(TestImages.read(image, 40_100, 60_000)).containsOnly(9);
    }
    assertThat(entry(file, 0)).isEqualTo(new L2Entry(before.descriptor(), 0x201));
    Qemu.check(file).clean();
  }

  @Test
  void mappingSaysWhatEachSubclusterIs() throws Exception {
    Path file = overlay(MIB, MIB, "write -P 1 0 8k", "write -z 12k 4k", "write -z 256k 128k");
    try (Image image = TestImages.open(file)) {
      Mapping.Data data = (Mapping.Data) image.map(100, MIB);
      assertThat(data.length()).isEqualTo(2 * SUB - 100);
      assertThat(data.writable()).isTrue();
      long host = data.hostOffset() - 100;
      assertThat(image.map(2 * SUB, MIB))
          .isEqualTo(
              new Mapping.Backing(image.backing().orElseThrow(), 2 * SUB, SUB, host + 2 * SUB));
      assertThat(image.map(3 * SUB, MIB)).isEqualTo(new Mapping.Zero(SUB, true, host + 3 * SUB));
      // The next cluster has nothing either, but no place for it.
      assertThat(image.map(4 * SUB, MIB).length()).isEqualTo(CLUSTER - 4 * SUB);
      assertThat(image.map(2 * CLUSTER, MIB)).isEqualTo(new Mapping.Zero(CLUSTER, true, -1));
    }
  }

  @Test
  void aSharedClusterIsCopiedAndTheSnapshotKeepsItsBytes() throws Exception {
    Path file = overlay(MIB, MIB, "write -P 1 8k 4k", "write -P 2 60k 4k", "write -z 20k 4k");
    Qemu.img("snapshot", "-c", "kept", file);
    try (Image image = TestImages.open(file)) {
      image.write(filled(100, 3), 30_000);
    }
    assertThat(entry(file, 0).bitmap()).isEqualTo(0x20_0000_8084L);
    Qemu.check(file).clean();
    Qemu.io(
        file,
        List.of(
            "read -P 9 0 8k",
            "read -P 1 8k 4k",
            "read -P 9 12k 8k",
            "read -P 0 20k 4k",
            "read -P 3 30000 100",
            "read -P 9 30100 31340",
            "read -P 2 60k 4k",
            "read -P 9 64k 64k"));
    Qemu.img("snapshot", "-a", "kept", file);
    Qemu.io(file, List.of("read -P 9 24k 36k", "read -P 1 8k 4k", "read -P 2 60k 4k"));
  }

  @Test
  void aCompressedClusterBecomesDataAsAWhole() throws Exception {
    Path raw = folder.resolve("raw");
    Files.write(raw, filled(2 * CLUSTER, 7).array());
    Path file = folder.resolve("image.qcow2");
    String options = "extended_l2=on,cluster_size=128k";
    Qemu.img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, file);
    try (Image image = TestImages.open(file)) {
      image.writeZeroes(SUB, SUB, true, false);
      image.write(filled(10, 1), CLUSTER + 5);
      assertThat(TestImages.read(image, 0, SUB)).containsOnly(7);
      assertThat(TestImages.read(image, SUB, SUB)).containsOnly(0);
      assertThat(TestImages.read(image, 2 * SUB, CLUSTER - 2 * SUB)).containsOnly(7);
    }
    assertThat(entry(file, 0).bitmap() | entry(file, 0).bitmap() >>> 32).isEqualTo(0xffffffffL);
    assertThat(entry(file, 1).bitmap()).isEqualTo(0xffffffffL);
    Qemu.check(file).clean();
  }

  @Test
  void aReservedRunIsLinkedBySubclusters() throws Exception {
    Path file = overlay(MIB, MIB, "write -P 1 16k 4k");
    try (Image image = TestImages.open(file)) {
      try (WritableRun run = image.reserve(1000, 100_000, false)) {
        // Up to the subcluster that is data: that one is for writing in place.
        assertThat(run.length()).isEqualTo(4 * SUB - 1000);
        run.storage().write(filled(50, 3), run.hostOffset());
        run.commit();
      }
      assertThat(TestImages.read(image, 0, 1000)).containsOnly(9);
      assertThat(TestImages.read(image, 1000, 50)).containsOnly(3);
      assertThat(TestImages.read(image, 1050, 4 * SUB - 1050)).containsOnly(9);
      assertThat(TestImages.read(image, 4 * SUB, SUB)).containsOnly(1);
      image.reserve(5 * SUB, SUB, true).close();
      assertThat(TestImages.read(image, 4 * SUB, SUB)).containsOnly(1);
      assertThat(TestImages.read(image, 5 * SUB, SUB)).containsOnly(9);
    }
    assertThat(entry(file, 0).bitmap()).isEqualTo(0x1f);
    Qemu.check(file).clean();
  }

  @Test
  void discardGivesBackWholeClustersOnly() throws Exception {
    Path file = overlay(MIB, MIB, "write -P 1 0 256k");
    try (Image image = TestImages.open(file)) {
      assertThat(image.discard(SUB, CLUSTER, Discard.TO_ZERO).length()).isZero();
      assertThat(image.discard(0, CLUSTER, Discard.TO_ZERO_KEEPING_SPACE).length())
          .isEqualTo(CLUSTER);
      image.discard(CLUSTER, CLUSTER, Discard.TO_BACKING);
      assertThat(TestImages.read(image, 0, CLUSTER)).containsOnly(0);
      assertThat(TestImages.read(image, CLUSTER, CLUSTER)).containsOnly(9);
    }
    assertThat(entry(file, 0).bitmap()).isEqualTo(0xffffffff00000000L);
    assertThat(entry(file, 0).descriptor()).isNegative();
    assertThat(entry(file, 1)).isEqualTo(L2Entry.NOTHING);
    Qemu.check(file).clean();
  }

  /** Where QEMU 7.2 fails. */
  @Test
  void anOverlayWhoseLastClusterIsCompressedGrowsUnderALongerBackingFile() throws Exception {
    long size = CLUSTER + 3 * SUB + 512;
    Path file = overlay(size, MIB);
    Path raw = folder.resolve("raw");
    Files.write(raw, filled((int) size, 7).array());
    String options =
        "extended_l2=on,cluster_size=128k,backing_fmt=raw,backing_file="
            + folder.resolve("base.raw");
    Qemu.img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, file);
    assertThat(entry(file, 1).compressed()).isTrue();
    TestImages.open(file).close();

    try (Image image = TestImages.open(file)) {
      image.resize(MIB + 512, Preallocation.OFF, false);
      assertThat(TestImages.read(image, 0, (int) size)).containsOnly(7);
      assertThat(TestImages.read(image, size, (int) (MIB + 512 - size))).containsOnly(0);
    }
    Qemu.check(file).clean();
    Qemu.io(file, List.of("read -P 7 0 " + size, "read -P 0 %d %d".formatted(size, MIB - size)));
  }

  @Test
  void preallocatedGrowthShowsZeroesThoughTheBackingFileIsLonger() throws Exception {
    Path file = overlay(CLUSTER + 5 * SUB + 512, MIB);
    try (Image image = TestImages.open(file)) {
      image.resize(MIB, Preallocation.FALLOC, false);
      assertThat(TestImages.read(image, 0, CLUSTER + 5 * SUB + 512)).containsOnly(9);
      assertThat(TestImages.read(image, CLUSTER + 5 * SUB + 512, CLUSTER)).containsOnly(0);
    }
    assertThat(entry(file, 3).bitmap()).isEqualTo(0xffffffff00000000L);
    assertThat(entry(file, 3).descriptor()).isNegative();
    Qemu.check(file).clean();
  }

  @Test
  void aBitmapThatContradictsItselfIsMetWithItsPlaceAndMarksTheImage() throws Exception {
    Path file = image(MIB, "write -P 1 0 4k");
    long l2 = TestImages.word(file, TestImages.word(file, 40)) & ~(1L << 63);
    TestImages.setWord(file, l2 + 8, 0x0000000200000002L);
    try (Image image = TestImages.openReadOnly(file)) {
      assertThatThrownBy(() -> TestImages.read(image, 100_000, 1))
          .isInstanceOf(CorruptImageException.class)
          .hasMessageContaining("L2 entry at host offset 0x%x".formatted(l2))
          .hasMessageContaining("subcluster bitmap 0x0000000200000002");
    }
    Image image = TestImages.open(file);
    assertThatThrownBy(() -> image.write(filled(10, 1), 0))
        .isInstanceOf(CorruptImageException.class);
    assertThatThrownBy(image::close).hasMessageContaining("nothing more is written");
    assertThat(TestImages.word(file, 72)).isEqualTo(0x12);
  }

  /** Both words of an entry that a reader sees belong to one moment. */
  @Test
  void aReaderNeverSeesHalfAChangedEntry() throws Exception {
    Slice slice = new Slice(0, 0, new long[512], true);
    int rounds = 200_000;
    AtomicReference<String> torn = new AtomicReference<>();
    Thread reader =
        new Thread(
            () -> {
              long last = 0;
              while (last < rounds && torn.get() == null) {
                L2Entry entry = slice.entry(7);
                if (entry.descriptor() != -entry.bitmap() || entry.bitmap() < last) {
                  torn.set(entry + " after " + last);
                }
                last = entry.bitmap();
              }
            });
    reader.start();
    for (int i = 1; i <= rounds; i++) {
      slice.set(7, new L2Entry(-i, i));
    }
    reader.join();
    assertThat(torn.get()).isNull();
  }
}
