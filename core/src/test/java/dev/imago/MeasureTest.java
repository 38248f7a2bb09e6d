package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.imago.CreateOptions.Preallocation;
import dev.imago.image.Image;
import dev.imago.image.LuksOptions;
import dev.imago.image.References;
import dev.imago.image.Secret;
import dev.imago.qcow2.Qcow2;
import dev.imago.testing.Qemu;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is measured is enough. The command line's contract compares it with what QEMU says. */
class MeasureTest {
  private static final int RUNS = Boolean.getBoolean("imago.long") ? 300 : 20;
  private static final long MIB = 1 << 20;

  @TempDir private Path folder;

  private static CreateOptions random(SplittableRandom random) {
    boolean extended = random.nextInt(4) == 0;
    int bits = extended ? random.nextInt(14, 18) : random.nextInt(9, 18);
    return CreateOptions.of("qcow2", 0)
        .clusterSize(1 << bits)
        .refcountBits(1 << random.nextInt(7))
        .extendedL2(extended);
  }

  /** What an outgrown refcount table may leave behind in a file, as with QEMU. */
  private static long outgrown(CreateOptions options, long bytes) {
    long perBlock = options.clusterSize() * 8L / options.refcountBits();
    long clusters = Math.ceilDiv(bytes, (long) options.clusterSize());
    long table = Math.ceilDiv(clusters, perBlock) * 8;
    return table <= options.clusterSize()
        ? 0
        : Math.ceilDiv(table, (long) options.clusterSize()) * options.clusterSize();
  }

  /**
   * However a disk is copied, its file is no longer than was said, and full no longer than full.
   */
  @Test
  void aCopyIsNeverLongerThanRequired() throws Exception {
    for (int seed = 1; seed <= RUNS; seed++) {
      var random = new SplittableRandom(seed);
      CreateOptions options = random(random);
      int size = random.nextInt(1, 6000) * 512;
      Path source = Disks.raw(folder.resolve("source.raw"), Disks.random(seed, size));
      Path copy = folder.resolve("copy.qcow2");
      try (Image image = Images.open(source, OpenOptions.of(References.deny()).format("raw"))) {
        Measurement measured = Measure.of(image, options);
        var convert = Convert.from(image).parallelism(1 + random.nextInt(3));
        convert.compressed(random.nextInt(4) == 0).to(copy, options);
        assertThat(Files.size(copy))
            .as("seed %d", seed)
            .isLessThanOrEqualTo(measured.required() + outgrown(options, measured.required()));

        convert.sparseSize(0).to(copy, options);
        assertThat(Files.size(copy))
            .as("all of it, seed %d", seed)
            .isLessThanOrEqualTo(
                measured.fullyAllocated() + outgrown(options, measured.fullyAllocated()));
        assertThat(measured.required()).isLessThanOrEqualTo(measured.fullyAllocated());
      }
      Files.delete(copy);
    }
  }

  @Test
  void anImageWithAllItsTablesIsAsLongAsWasSaid() throws Exception {
    for (int seed = 1; seed <= RUNS; seed++) {
      var random = new SplittableRandom(seed);
      long size = random.nextInt(1, 40_000) * 512L;
      CreateOptions options = random(random).size(size).preallocation(Preallocation.METADATA);
      Path file = folder.resolve("whole.qcow2");
      Images.create(file, options);
      assertThat(Measure.of(options).fullyAllocated())
          .as("seed %d", seed)
          .isEqualTo(Files.size(file));
      assertThat(Measure.of(options.preallocation(Preallocation.FULL)).required())
          .isEqualTo(Files.size(file));
    }
  }

  /** Twice what QEMU says: 64 KiB and 4 KiB clusters, two key lengths. */
  @Test
  void anEncryptedImageHasItsHeaderOnTop() throws Exception {
    try (Secret secret = new Secret("geheim".getBytes(StandardCharsets.UTF_8))) {
      LuksOptions luks = LuksOptions.of(secret).withIterationMillis(0);
      CreateOptions options = CreateOptions.of("qcow2", 1 << 30).luks(luks);
      assertThat(Measure.of(options))
          .isEqualTo(new Measurement(2_490_368, 1_076_232_192, OptionalLong.empty()));
      CreateOptions small = options.clusterSize(4096).luks(luks.withCipher("aes-128", luks.mode()));
      assertThat(Measure.of(small))
          .isEqualTo(new Measurement(3_690_496, 1_077_432_320, OptionalLong.empty()));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {512, 4096, 65536})
  void copiedBitmapsFitIntoWhatIsSaidForThem(int clusterSize) throws Exception {
    Path source = folder.resolve("source.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", source, 8 * MIB);
    Qemu.img("bitmap", "--add", "-g", 512, source, "a bitmap with a name of some length");
    Qemu.img("bitmap", "--add", source, "b");
    Qemu.io(source, List.of("write -P 1 0 3M", "write -P 2 5M 100k"));
    Path copy = folder.resolve("copy.qcow2");
    CreateOptions options = CreateOptions.of("qcow2", 0).clusterSize(clusterSize);
    try (Image image = Images.openReadOnly(source, References.deny())) {
      Measurement measured = Measure.of(image, options);
      Convert.from(image).bitmaps(Convert.Bitmaps.ALL).to(copy, options);
      assertThat(Files.size(copy))
          .isLessThanOrEqualTo(measured.required() + 2 * measured.bitmaps().orElseThrow());
      assertThat(Measure.of(image, options.version(2)).bitmaps()).isEmpty();
    }
  }

  @Test
  void clustersThatOnlyHaveTheirPlacesNeedNoRoom() throws Exception {
    Path source = folder.resolve("source.qcow2");
    CreateOptions options = CreateOptions.of("qcow2", 64 * MIB);
    try (Image image = Disks.created(source, options.preallocation(Preallocation.METADATA))) {
      image.write(ByteBuffer.wrap(new byte[] {1}), 5 * MIB);
      image.flush();
      long empty = Measure.of(options).required();
      assertThat(Measure.of(image, options).required()).isEqualTo(empty + (64 << 10));
    }
  }

  @Test
  void overABackingImageAllIsCounted() throws Exception {
    Path source = Disks.raw(folder.resolve("source.raw"), new byte[(int) MIB]);
    try (Image image = Images.open(source, OpenOptions.of(References.deny()).format("raw"))) {
      Measurement measured = Measure.of(image, CreateOptions.of("qcow2", 0).backing("base", "raw"));
      assertThat(measured.required()).isEqualTo(measured.fullyAllocated());
    }
  }

  @Test
  void aSnapshotIsMeasuredByWhatItHolds() throws Exception {
    Path source = folder.resolve("source.qcow2");
    CreateOptions options = CreateOptions.of("qcow2", MIB);
    try (Image image = Disks.created(source, options)) {
      image.write(ByteBuffer.wrap(new byte[] {1}), 0);
      Qcow2.createSnapshot(image, "s", java.time.Instant.EPOCH);
      image.write(ByteBuffer.wrap(new byte[300_000]), 500_000);
    }
    OpenOptions how = OpenOptions.of(References.deny()).snapshot("s");
    try (Image image = Images.open(source, how)) {
      assertThat(Measure.of(image, options).required())
          .isEqualTo(Measure.of(options).required() + (64 << 10));
    }
  }

  @Test
  void aRawImageIsAsLongAsItsDisk() {
    assertThat(Measure.of(CreateOptions.of("raw", 1000)))
        .isEqualTo(new Measurement(1024, 1024, OptionalLong.empty()));
    assertThat(Measure.of(CreateOptions.of("raw", 0)).required()).isZero();
  }

  @Test
  void whatCannotBeIsRefused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Measure.of(CreateOptions.of("qcow2", 1L << 60)))
        .withMessageContaining("too large");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Measure.of(CreateOptions.of("raw", Long.MAX_VALUE)));
    assertThatIllegalArgumentException().isThrownBy(() -> Measure.of(CreateOptions.of("vmdk", 1)));
  }
}
