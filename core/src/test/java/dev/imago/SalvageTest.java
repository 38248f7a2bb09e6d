package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.References;
import dev.imago.storage.FileStorage;
import dev.imago.storage.MemoryStorage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SalvageTest {
  private static final int SIZE = 4 << 20;

  @TempDir Path folder;

  @Test
  void entriesAndCompressedClustersThatAreBadBecomeZeroesAndAreTold() throws Exception {
    Path image = image();
    poke(image, 0x40000, 0x8000_0000_0005_0200L);
    poke(image, compressedAt(image), -1);
    // Marked as corrupt, as an image that somebody met with would be.
    poke(image, 72, 2);

    Salvage salvage = rescue(Images.openReadOnly(image, References.deny()), 2);

    assertThat(salvage.holes()).extracting(Salvage.Hole::guestOffset).containsExactly(0L, 1L << 20);
    assertThat(salvage.holes()).allMatch(hole -> hole.length() == 65536);
    assertThat(salvage.holes().getFirst().why()).contains("not a multiple of the cluster size");
    assertThat(salvage.holes().getLast().why()).contains("compressed cluster");
    assertThat(salvage.bytes()).isEqualTo(2 * 65536);
    assertThat(content()).isEqualTo(expected(0, 1 << 20));
  }

  @Test
  void withoutSalvageTheFirstOfThemEndsTheCopy() throws Exception {
    Path image = image();
    poke(image, 0x40000, 0x8000_0000_0005_0200L);

    try (Image source = Images.openReadOnly(image, References.deny())) {
      Convert convert = Convert.from(source);
      Path target = folder.resolve("target");
      CreateOptions raw = CreateOptions.of("raw", 0);
      assertThatThrownBy(() -> convert.to(target, raw)).isInstanceOf(ConvertException.class);
    }
  }

  @Test
  void sectorsThatTheHostCannotReadAreLostAndNoOthers() throws Exception {
    Path image = image();
    FaultyStorage disk = faulty(image);
    long bad = 0x60000 + 3 * 512;
    disk.failWhen(r -> r.call() == StorageCall.READ && r.touches(bad, 1024));

    Salvage salvage = rescue(Images.open(disk, OpenOptions.of(References.deny())), 1);

    assertThat(salvage.holes())
        .singleElement()
        .satisfies(
            hole -> {
              assertThat(hole.guestOffset()).isEqualTo((128 << 10) + 3 * 512);
              assertThat(hole.length()).isEqualTo(1024);
              assertThat(hole.why()).contains("Input/output error");
            });
    byte[] all = expected();
    Arrays.fill(all, (128 << 10) + 3 * 512, (128 << 10) + 5 * 512, (byte) 0);
    assertThat(content()).isEqualTo(all);
  }

  @Test
  void anL2TableThatTheHostCannotReadIsAHoleOfAllThatItMaps() throws Exception {
    Path image = image();
    FaultyStorage disk = faulty(image);
    disk.failWhen(r -> r.call() == StorageCall.READ && r.touches(0x40000, 65536));

    Salvage salvage = rescue(Images.open(disk, OpenOptions.of(References.deny())), 1);

    assertThat(salvage.holes())
        .singleElement()
        .extracting(Salvage.Hole::length)
        .isEqualTo(4L << 20);
    assertThat(content()).containsOnly(0);
  }

  @Test
  void aRawDiskIsReadAroundItsBadSectors() throws Exception {
    MemoryStorage memory = new MemoryStorage("disk");
    byte[] bytes = new byte[1 << 20];
    Arrays.fill(bytes, (byte) 7);
    memory.write(ByteBuffer.wrap(bytes), 0);
    FaultyStorage disk = new FaultyStorage(memory);
    disk.failWhen(r -> r.call() == StorageCall.READ && r.touches(100_000, 1));

    Salvage salvage = rescue(Images.open(disk, OpenOptions.of(References.deny()).format("raw")), 3);

    long sector = 100_000 / 512 * 512;
    assertThat(salvage.holes())
        .singleElement()
        .satisfies(hole -> assertThat(hole.guestOffset()).isEqualTo(sector));
    Arrays.fill(bytes, (int) sector, (int) sector + 512, (byte) 0);
    assertThat(content()).isEqualTo(bytes);
  }

  @Test
  void whatLayBehindTheEndOfAFileThatWasCutOffIsLostAndNotZero() throws Exception {
    Path image = image();
    cut(image, 0x60000);

    Salvage salvage = rescue(Images.open(image, lossy()), 2);

    assertThat(salvage.holes())
        .extracting(Salvage.Hole::guestOffset)
        .containsExactly(128L << 10, 1L << 20);
    assertThat(salvage.holes().getFirst().why())
        .contains("data cluster at host offset 0x60000", "behind the end of the file, 0x60000");
    assertThat(content()).isEqualTo(expected(128 << 10, 1 << 20));
  }

  @Test
  void aTableThatWasCutOffDoesNotLetTheBackingImageShowThrough() throws Exception {
    Path overlay = overlay();
    cut(overlay, 0x40000);

    Salvage salvage = rescue(Images.open(overlay, lossy()), 1);

    assertThat(salvage.holes())
        .singleElement()
        .satisfies(
            hole -> {
              assertThat(hole.guestOffset()).isZero();
              assertThat(hole.length()).isEqualTo(SIZE);
              assertThat(hole.why()).contains("L2 table at 0x40000, behind the end of the file");
            });
    assertThat(content()).containsOnly(0);
  }

  @Test
  void aTableInWhichTheFileEndsDoesNotLetTheBackingImageShowThrough() throws Exception {
    Path overlay = overlay();
    cut(overlay, 0x40000 + 2048);

    Salvage salvage = rescue(Images.open(overlay, lossy()), 1);

    assertThat(salvage.holes())
        .singleElement()
        .satisfies(
            hole -> {
              assertThat(hole.length()).isEqualTo(SIZE);
              assertThat(hole.why()).contains("L2 table at 0x40000, across the end of the file");
            });
    assertThat(content()).containsOnly(0);
  }

  @Test
  void aSnapshotWhoseL1TableCannotBeReadIsAHoleAndNotZero() throws Exception {
    Path image = image();
    Qemu.img("snapshot", "-c", "s1", image);
    long l1 = word(image, word(image, 64));
    FaultyStorage disk = faulty(image);
    disk.failWhen(r -> r.call() == StorageCall.READ && r.touches(l1, 8));

    Salvage salvage = rescue(Images.open(disk, lossy().snapshot("s1")), 1);

    assertThat(salvage.holes())
        .singleElement()
        .satisfies(
            hole -> {
              assertThat(hole.length()).isEqualTo(SIZE);
              assertThat(hole.why()).contains("L1 entry", "cannot be read");
            });
  }

  @Test
  void partsOfTheL1TableThatCannotBeReadAreHolesAndTheOthersAreNot() throws Exception {
    Path image = folder.resolve("small");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", image, SIZE);
    Qemu.io(image, List.of("write -P 5 0 4M"));
    long l1 = word(image, 40);
    FaultyStorage disk = faulty(image);
    disk.failWhen(r -> r.call() == StorageCall.READ && r.touches(l1 + 512, 512));

    Salvage salvage = rescue(Images.open(disk, lossy()), 1);

    // 64 entries of 32 KiB each.
    assertThat(salvage.holes())
        .singleElement()
        .satisfies(
            hole -> {
              assertThat(hole.guestOffset()).isEqualTo(2L << 20);
              assertThat(hole.length()).isEqualTo(2L << 20);
              assertThat(hole.why()).contains("L1 entry", "cannot be read");
            });
    byte[] bytes = new byte[SIZE];
    Arrays.fill(bytes, 0, 2 << 20, (byte) 5);
    assertThat(content()).isEqualTo(bytes);
  }

  @Test
  void aBackingFileThatIsMissingOrNoImageAnyMoreIsAHole() throws Exception {
    Path overlay = overlay();
    Path base = folder.resolve("image");
    for (boolean missing : new boolean[] {false, true}) {
      Files.delete(base);
      if (!missing) {
        Files.write(base, new byte[65536]);
      }

      Salvage salvage = rescue(Images.open(overlay, lossy()), 2);

      assertThat(salvage.holes())
          .extracting(Salvage.Hole::guestOffset)
          .containsExactly(0L, 3L << 19);
      assertThat(salvage.bytes()).isEqualTo(SIZE - (1 << 19));
      assertThat(salvage.holes().getFirst().why()).contains(missing ? "is not there" : "magic");
      byte[] bytes = new byte[SIZE];
      Arrays.fill(bytes, 1 << 20, 3 << 19, (byte) 9);
      assertThat(content()).isEqualTo(bytes);
      if (!missing) {
        continue;
      }
      assertThatThrownBy(() -> Images.openReadOnly(overlay, References.sameFolder()).close())
          .isInstanceOf(ReferenceFailedException.class);
    }
  }

  @Test
  void aBackingFileThatMayNotBeOpenedIsNoDamage() throws Exception {
    Path overlay = overlay();

    assertThatThrownBy(() -> Images.open(overlay, OpenOptions.of(References.deny()).rescue()))
        .isInstanceOf(ReferenceDeniedException.class);
  }

  @Test
  void anImageWithoutARefcountTableIsRead() throws Exception {
    Path image = image();
    poke(image, 48, 0);

    Salvage salvage = rescue(Images.open(image, lossy()), 1);

    assertThat(salvage.holes()).isEmpty();
    assertThat(content()).isEqualTo(expected());
  }

  @Test
  void aRescueIsForReadingOnly() throws Exception {
    Path image = image();

    assertThatThrownBy(() -> Images.open(image, lossy().writable(true)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("a rescue is for reading only");
  }

  private static OpenOptions lossy() {
    return OpenOptions.of(References.sameFolder()).format("qcow2").rescue();
  }

  private static void cut(Path image, long size) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(size);
    }
  }

  /** An overlay over {@link #image} with half a megabyte of its own at 1M. */
  private Path overlay() throws IOException, InterruptedException {
    image();
    Path overlay = folder.resolve("overlay");
    Qemu.img("create", "-q", "-f", "qcow2", "-u", "-b", "image", "-F", "qcow2", overlay, SIZE);
    Qemu.io(overlay, List.of("write -P 9 1M 512k"));
    return overlay;
  }

  private Salvage rescue(Image image, int threads) throws IOException {
    Salvage salvage = new Salvage();
    try (image) {
      Convert.from(image)
          .salvage(salvage)
          .parallelism(threads)
          .to(folder.resolve("target"), CreateOptions.of("raw", 0));
    }
    return salvage;
  }

  private byte[] content() throws IOException {
    return Files.readAllBytes(folder.resolve("target"));
  }

  private Path image() throws IOException, InterruptedException {
    Path image = folder.resolve("image");
    Qemu.img("create", "-q", "-f", "qcow2", image, SIZE);
    Qemu.io(image, List.of("write -P 1 0 64k", "write -P 2 128k 64k", "write -c -P 3 1M 64k"));
    return image;
  }

  /** The guest's bytes, but for clusters that are lost. */
  private static byte[] expected(int... lost) {
    byte[] bytes = new byte[SIZE];
    Arrays.fill(bytes, 0, 65536, (byte) 1);
    Arrays.fill(bytes, 128 << 10, 192 << 10, (byte) 2);
    Arrays.fill(bytes, 1 << 20, (1 << 20) + 65536, (byte) 3);
    for (int at : lost) {
      Arrays.fill(bytes, at, at + 65536, (byte) 0);
    }
    return bytes;
  }

  private static FaultyStorage faulty(Path image) throws IOException {
    return new FaultyStorage(FileStorage.open(image, FileStorage.Options.readOnly()));
  }

  private static long compressedAt(Path image) throws IOException {
    return word(image, 0x40000 + 16 * 8) & (1L << 54) - 1;
  }

  private static long word(Path image, long at) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
      file.seek(at);
      return file.readLong();
    }
  }

  private static void poke(Path image, long at, long word) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(at);
      file.writeLong(word);
    }
  }
}
