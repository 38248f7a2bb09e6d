package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
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
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
      file.seek(0x40000 + 16 * 8);
      return file.readLong() & (1L << 54) - 1;
    }
  }

  private static void poke(Path image, long at, long word) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(at);
      file.writeLong(word);
    }
  }
}
