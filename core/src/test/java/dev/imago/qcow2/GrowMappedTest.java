package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.LuksOptions;
import dev.imago.image.Mapping;
import dev.imago.image.Secret;
import dev.imago.image.SyncMode;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.raw.Raw;
import dev.imago.storage.FileStorage;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A disk grows, and each new cluster gets its place at once. */
class GrowMappedTest {
  private static final int MIB = 1 << 20;

  @TempDir private Path folder;

  private Path create(String options, long size, String... more) throws Exception {
    Path file = folder.resolve("image.qcow2");
    List<Object> words = new ArrayList<>(List.of("create", "-q", "-f", "qcow2"));
    if (!options.isEmpty()) {
      words.addAll(List.of("-o", options));
    }
    words.addAll(List.of(more));
    words.addAll(List.of(file, size));
    Qemu.img(words.toArray());
    return file;
  }

  private Path backing(int size) throws Exception {
    Path base = folder.resolve("base.raw");
    Files.write(base, filled(size, 9).array());
    return base;
  }

  /** Every cluster of a range has a place that is this image's alone. */
  private static void assertPlaced(Image image, long from, long to) throws Exception {
    for (long at = from; at < to; ) {
      Mapping mapping = image.map(at, to - at);
      long host =
          switch (mapping) {
            case Mapping.Data data -> data.hostOffset();
            case Mapping.Zero zero -> zero.preallocatedHostOffset();
            case Mapping.Unallocated nothing -> nothing.preallocatedHostOffset();
            case Mapping.Backing behind -> behind.preallocatedHostOffset();
            case Mapping.Encoded encoded -> encoded.hostOffset();
            case Mapping.End _ -> -1;
          };
      assertThat(host).as("%s at %d", mapping, at).isNotNegative();
      at += mapping.length();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "compat=0.10", "cluster_size=512,refcount_bits=1", "cluster_size=2M"})
  void theNewPartReadsAsZeroAndTakesNoHostSpace(String options) throws Exception {
    Path file = create(options, MIB);
    try (Image image = TestImages.open(file)) {
      image.write(filled(1000, 7), MIB - 1000);
      image.growMapped(8L * MIB);
      assertThat(image.size()).isEqualTo(8L * MIB);
      assertPlaced(image, MIB, 8L * MIB);
      assertThat(TestImages.read(image, MIB - 1000, 1000)).containsOnly(7);
      assertThat(TestImages.read(image, MIB, 7 * MIB)).containsOnly(0);
    }
    Qemu.check(file).clean();
    Qemu.io(file, List.of("read -P 7 1047576 1000", "read -P 0 1M 7M"));
    try (FileStorage storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      assertThat(storage.size()).isGreaterThan(7L * MIB);
      // A cluster of 2 MiB that the old disk ended in is written as a whole.
      assertThat(storage.allocatedBytes())
          .isLessThan(options.contains("2M") ? 11L * MIB : 2L * MIB);
    }
  }

  @Test
  void whatIsWrittenThereLaterChangesNoMapping() throws Exception {
    Path file = create("", MIB);
    try (Image image = TestImages.open(file)) {
      image.growMapped(4L * MIB);
      long end = Files.size(file);
      image.write(filled(3 * MIB, 5), MIB);
      image.flush();
      assertThat(Files.size(file)).isEqualTo(end);
      assertThat(TestImages.read(image, MIB, 3 * MIB)).containsOnly(5);
    }
    Qemu.check(file).clean();
  }

  @Test
  void aLongBackingImageStaysHidden() throws Exception {
    for (String options : List.of("", "compat=0.10", "extended_l2=on")) {
      Path file = create(options, MIB - 512, "-b", backing(3 * MIB).toString(), "-F", "raw");
      try (Image image = TestImages.open(file)) {
        image.growMapped(4L * MIB);
        assertThat(TestImages.read(image, 0, MIB - 512)).as(options).containsOnly(9);
        assertThat(TestImages.read(image, MIB - 512, 3 * MIB + 512)).as(options).containsOnly(0);
        assertPlaced(image, MIB, 3L * MIB);
      }
      Qemu.check(file).clean();
      Qemu.io(file, List.of("read -P 9 0 1048064", "read -P 0 1048064 3146240"));
    }
  }

  @Test
  void subclustersAreOnlyReserved() throws Exception {
    Path file = create("extended_l2=on", MIB);
    try (Image image = TestImages.open(file)) {
      image.growMapped(2L * MIB);
      long end = Files.size(file);
      assertThat(TestImages.read(image, MIB, MIB)).containsOnly(0);
      image.write(filled(100, 4), MIB + 70_000);
      image.flush();
      assertThat(Files.size(file)).isEqualTo(end);
      assertThat(TestImages.read(image, MIB + 70_100, 10_000)).containsOnly(0);
    }
    Qemu.check(file).clean();
    Qemu.io(file, List.of("read -P 4 1118576 100", "read -P 0 1118676 100k"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"off", "on"})
  void aDataFileIsMappedAndZero(String raw) throws Exception {
    Path data = folder.resolve("data");
    Path file = create("data_file=" + data + ",data_file_raw=" + raw, MIB);
    if (raw.equals("off")) {
      // What nobody maps is nobody's, whatever it holds.
      Files.write(data, filled(3 * MIB, 6).array());
    }
    try (Image image = TestImages.open(file)) {
      image.growMapped(2L * MIB);
      assertPlaced(image, MIB, 2L * MIB);
      assertThat(TestImages.read(image, 0, 2 * MIB)).containsOnly(0);
    }
    Qemu.check(file).clean();
    Qemu.io(file, List.of("read -P 0 0 2M"));
    if (raw.equals("on")) {
      assertThat(data).hasSize(2L * MIB);
    }
  }

  /** QEMU maps it too: nothing else makes the file a raw image of the disk for good. */
  @Test
  void aRawDataFileIsMappedHoweverTheDiskGrows() throws Exception {
    Path data = folder.resolve("data");
    Path file = create("data_file_raw=on,data_file=" + data, MIB + 512);
    try (Image image = TestImages.open(file)) {
      image.resize(2L * MIB, Preallocation.OFF, false);
      assertPlaced(image, 0, 2L * MIB);
    }
    assertThat(data).hasSize(2L * MIB);
    Qemu.check(file).clean();
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3})
  void anEncryptedDiskReadsAsZeroThere(int version) throws Exception {
    Path file = folder.resolve("luks.qcow2");
    byte[] phrase = "geheim".getBytes(StandardCharsets.UTF_8);
    try (Secret secret = new Secret(phrase);
        FileStorage storage = FileStorage.create(file, FileStorage.Options.readWrite())) {
      Qcow2.create(
          storage,
          Qcow2CreateOptions.ofSize(MIB - 512)
              .withVersion(version, 16)
              .withLuks(LuksOptions.of(secret).withIterationMillis(0)),
          null,
          SyncMode.NONE);
    }
    try (Secret secret = new Secret(phrase);
        Image image =
            Qcow2.open(
                FileStorage.open(file, FileStorage.Options.readWrite()),
                Qcow2OpenOptions.defaults().withWritable(true).withKey(secret, false),
                TestImages.FILES)) {
      image.growMapped(3L * MIB);
      assertPlaced(image, 0x100000 - 512, 3L * MIB);
      assertThat(TestImages.read(image, 0, 3 * MIB)).containsOnly(0);
      image.write(filled(100, 3), 2L * MIB + 5000);
      assertThat(TestImages.read(image, 2L * MIB + 5100, 60_000)).containsOnly(0);
    }
    Qemu.check(file, "geheim").clean();
  }

  @Test
  void aSnapshotOfTheShorterDiskStaysAsItIs() throws Exception {
    Path file = create("", MIB + 512);
    Qemu.io(file, List.of("write -P 8 0 1049088"));
    Qemu.img("snapshot", "-c", "s", file);
    try (Image image = TestImages.open(file)) {
      image.growMapped(3L * MIB);
      assertThat(TestImages.read(image, 0, MIB + 512)).containsOnly(8);
      assertThat(TestImages.read(image, MIB + 512, 2 * MIB - 512)).containsOnly(0);
      Qcow2.applySnapshot(image, "s");
      assertThat(image.size()).isEqualTo(MIB + 512);
      assertThat(TestImages.read(image, 0, MIB + 512)).containsOnly(8);
    }
    Qemu.check(file).clean();
  }

  @ParameterizedTest
  @ValueSource(strings = {"falloc", "full", "metadata"})
  void theClusterInWhichTheDiskEndedGetsItsPlaceToo(String mode) throws Exception {
    Path file = create("cluster_size=2M", MIB);
    try (Image image = TestImages.open(file)) {
      grow(image, 2L * MIB, mode);
      assertPlaced(image, 0, 2L * MIB);
    }
    Qemu.check(file).clean();
  }

  private static void grow(Image image, long size, String mode) throws Exception {
    switch (mode) {
      case "metadata" -> image.growMapped(size);
      case "falloc" -> image.resize(size, Preallocation.FALLOC, false);
      default -> image.resize(size, Preallocation.FULL, false);
    }
  }

  /** It once was as long as asked for, with whatever had found room. */
  @ParameterizedTest
  @ValueSource(strings = {"metadata", "falloc", "full"})
  void aDiskThatFindsNoRoomStaysAsLongAsItWas(String mode) throws Exception {
    Path file = create("cluster_size=4k", MIB + 512);
    FaultyStorage storage = TestImages.faulty(file);
    Image image = TestImages.open(storage);
    image.write(filled(MIB + 512, 1), 0);
    image.flush();
    StorageCall call = mode.equals("full") ? StorageCall.WRITE : StorageCall.ZERO;
    storage.failNth(call, storage.calls(call) + 5);
    assertThatThrownBy(() -> grow(image, 64L * MIB, mode))
        .hasMessageContaining("Input/output error");
    storage.heal();
    assertThat(image.size()).isEqualTo(MIB + 512);
    assertThat(TestImages.read(image, 0, MIB + 512)).containsOnly(1);
    image.close();
    Qemu.check(file).clean();
    assertThat(Files.size(file)).isLessThan(4L * MIB);
    try (Image again = TestImages.open(file)) {
      assertThat(again.size()).isEqualTo(MIB + 512);
      again.growMapped(2L * MIB);
      assertThat(TestImages.read(again, MIB + 512, MIB - 512)).containsOnly(0);
    }
    Qemu.check(file).clean();
  }

  @Test
  void badSizesAreRefusedBeforeAnythingIsTouched() throws Exception {
    Path file = create("", MIB);
    byte[] before = Files.readAllBytes(file);
    try (Image image = TestImages.open(file)) {
      assertThatIllegalArgumentException().isThrownBy(() -> image.growMapped(MIB - 512));
      assertThatIllegalArgumentException().isThrownBy(() -> image.growMapped(MIB + 1));
      assertThatIllegalArgumentException().isThrownBy(() -> image.growMapped(-512));
      image.growMapped(MIB);
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  @Test
  void aRawImageHasNoMapping() throws Exception {
    try (Image image = Raw.open(new MemoryStorage("raw"), true, SyncMode.FULL)) {
      assertThatThrownBy(() -> image.growMapped(MIB))
          .isInstanceOf(UnsupportedFeatureException.class);
    }
  }
}
