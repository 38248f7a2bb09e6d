package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.image.Snapshot;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2Info;
import dev.imago.storage.FileStorage;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AmendTest {
  private static final int RUNS = Boolean.getBoolean("imago.long") ? 60 : 5;
  private static final OpenOptions SAME_FOLDER = OpenOptions.of(References.sameFolder());

  @TempDir private Path folder;

  private Path image() {
    return folder.resolve("image");
  }

  private void amend(Amend amend) throws IOException {
    amend.run(image(), SAME_FOLDER);
  }

  private Qcow2Info info() throws IOException {
    try (FileStorage storage = FileStorage.open(image(), FileStorage.Options.readOnly())) {
      return Qcow2.info(storage);
    }
  }

  private void create(CreateOptions options) throws IOException {
    Files.deleteIfExists(image());
    Images.create(image(), options);
  }

  private Image open() throws IOException {
    return Images.open(image(), SAME_FOLDER.writable(true));
  }

  private long word(long at) throws IOException {
    return ByteBuffer.wrap(Files.readAllBytes(image())).getLong((int) at);
  }

  /** The zero entry's place was zeroed: with it went the L1 table. */
  @Test
  void aZeroEntryInAnImageThatLiesInTheL1TableIsNotExpanded() throws Exception {
    create(CreateOptions.of("qcow2", 1 << 20));
    try (Image image = open()) {
      image.write(ByteBuffer.wrap(new byte[] {1}), 0);
    }
    long l1 = word(40);
    long l2 = word(l1) & 0x00ff_ffff_ffff_fe00L;
    byte[] bytes = Files.readAllBytes(image());
    ByteBuffer.wrap(bytes).putLong((int) l2 + 8, l1 | 1);
    Files.write(image(), bytes);

    assertThatThrownBy(() -> amend(Amend.nothing().version(2)))
        .isInstanceOf(CorruptImageException.class);

    assertThat(word(l1)).as("the L1 table").isEqualTo(l2 | 1L << 63);
    assertThat(Disks.read(image())[0]).isEqualTo((byte) 1);
  }

  /** Something everywhere: data, zeroes with and without a place, compressed clusters. */
  private static void fill(Image image, SplittableRandom random) throws IOException {
    for (int i = 0; i < 12; i++) {
      long at = random.nextLong(image.size());
      int length = (int) Math.min(1 + random.nextInt(60_000), image.size() - at);
      byte[] bytes = new byte[length];
      switch (random.nextInt(4)) {
        case 0 -> image.writeZeroes(at, length, true, false);
        case 1 -> image.writeZeroes(at, length, false, false);
        case 2 -> {
          int cluster = image.clusterSize();
          long start = at & -cluster;
          int room = (int) Math.min(cluster, image.size() - start);
          Arrays.fill(bytes, (byte) random.nextInt());
          try (var run = image.compress(ByteBuffer.wrap(Arrays.copyOf(bytes, room)), start)) {
            run.write();
          }
        }
        default -> {
          random.nextBytes(bytes);
          image.write(ByteBuffer.wrap(bytes), at);
        }
      }
    }
  }

  /** What guests see of the disk and of each snapshot. */
  private Map<String, byte[]> seen() throws IOException {
    Map<String, byte[]> seen = new LinkedHashMap<>();
    seen.put("", Disks.read(image()));
    List<Snapshot> snapshots;
    try (Image image = Images.openReadOnly(image(), References.sameFolder())) {
      snapshots = Snapshots.list(image);
    }
    for (Snapshot snapshot : snapshots) {
      try (Image image = Images.open(image(), SAME_FOLDER.snapshot(snapshot.id()))) {
        seen.put(snapshot.id(), Disks.read(image));
      }
    }
    return seen;
  }

  private void assertSeen(Map<String, byte[]> before) throws Exception {
    Map<String, byte[]> now = seen();
    assertThat(now.keySet()).isEqualTo(before.keySet());
    for (String name : now.keySet()) {
      assertThat(Arrays.equals(now.get(name), before.get(name))).as("bytes of " + name).isTrue();
    }
    Qemu.check(image()).clean();
    assertThat(Arrays.equals(Qemu.read(image(), folder.resolve("raw")), before.get(""))).isTrue();
  }

  @Test
  void guestsAndSnapshotsSeeTheSameWhateverIsAmended() throws Exception {
    for (long seed = 1; seed <= RUNS; seed++) {
      try {
        anyImage(new SplittableRandom(seed));
      } catch (AssertionError | IOException | IllegalArgumentException e) {
        throw new AssertionError("seed " + seed + ": " + e, e);
      }
    }
  }

  private void anyImage(SplittableRandom random) throws Exception {
    int cluster = List.of(512, 4096, 65536).get(random.nextInt(3));
    int version = random.nextInt(3) == 0 ? 2 : 3;
    CreateOptions options =
        CreateOptions.of("qcow2", (400 << 10) + 512)
            .clusterSize(cluster)
            .version(version)
            .refcountBits(version == 2 ? 16 : 8 << random.nextInt(4));
    if (random.nextBoolean()) {
      Disks.raw(folder.resolve("base"), Disks.random(random.nextLong(), 1 << 19));
      options = options.backing("base", "raw");
    }
    create(options);
    int snapshots = random.nextInt(4);
    try (Image image = open()) {
      for (int i = 0; i < snapshots; i++) {
        fill(image, random);
        Snapshots.create(image, "s" + i, Instant.EPOCH);
      }
      fill(image, random);
    }
    Map<String, byte[]> before = seen();
    for (int i = 0; i < 6; i++) {
      int bits = (snapshots == 0 ? 8 : 16) << random.nextInt(snapshots == 0 ? 4 : 3);
      switch (random.nextInt(4)) {
        case 0 -> amend(Amend.nothing().version(3).refcountBits(bits));
        case 1 -> amend(Amend.nothing().version(2).refcountBits(16));
        case 2 -> amend(Amend.nothing().version(3));
        default -> amend(Amend.nothing().version(3).lazyRefcounts(random.nextBoolean()));
      }
      assertSeen(before);
    }
    try (Image image = open()) {
      fill(image, random);
      for (int i = 0; i < snapshots; i++) {
        Snapshots.delete(image, "s" + i);
      }
    }
    Qemu.check(image()).clean();
  }

  @ParameterizedTest
  @CsvSource({"1, 64", "2, 1", "4, 2", "8, 4", "16, 8", "32, 16", "64, 32", "16, 1", "1, 16"})
  void countsOfEveryWidthBecomeOnesOfAnother(int from, int to) throws Exception {
    create(CreateOptions.of("qcow2", 8 << 20).clusterSize(512).refcountBits(from));
    try (Image image = open()) {
      image.write(ByteBuffer.wrap(Disks.random(from, 3 << 20)), 1 << 20);
    }
    Map<String, byte[]> before = seen();

    amend(Amend.nothing().refcountBits(to));

    assertThat(info().refcountBits()).isEqualTo(to);
    assertSeen(before);
    try (Image image = open()) {
      image.write(ByteBuffer.wrap(new byte[] {1}), 7 << 20);
    }
    Qemu.check(image()).clean();
  }

  @Test
  void aCountThatIsTooLargeIsNamedAndNothingIsChanged() throws Exception {
    create(CreateOptions.of("qcow2", 1 << 20));
    try (Image image = open()) {
      image.write(ByteBuffer.wrap(new byte[] {1}), 0);
      Snapshots.create(image, "s", Instant.EPOCH);
    }
    byte[] before = Files.readAllBytes(image());

    assertThatIllegalArgumentException()
        .isThrownBy(() -> amend(Amend.nothing().refcountBits(1)))
        .withMessageMatching(
            "Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x[0-9a-f]+ has a"
                + " refcount of 2");
    assertThat(Files.readAllBytes(image())).isEqualTo(before);
  }

  /** Its snapshot still has data where the disk says zero, in the same cluster. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aDowngradeZeroesNoClusterThatASnapshotHasDataIn(boolean backed) throws Exception {
    CreateOptions options = CreateOptions.of("qcow2", 1 << 20);
    if (backed) {
      Disks.raw(folder.resolve("base"), Disks.random(1, 1 << 20));
      options = options.backing("base", "raw");
    }
    create(options);
    Qemu.io(image(), List.of("write -P 7 0 256k"));
    Qemu.img("snapshot", "-c", "s", image());
    // qemu-io leaves the zero cluster its shared place.
    Qemu.io(image(), List.of("write -z 64k 64k", "write -z 512k 64k"));
    Map<String, byte[]> before = seen();

    amend(Amend.nothing().version(2));

    assertSeen(before);
    Qemu.img("snapshot", "-a", "s", image());
    assertThat(Arrays.equals(Disks.read(image()), before.get("1"))).isTrue();
  }

  @Test
  void anUpgradeGivesSnapshotsTheFieldsOfVersion3() throws Exception {
    create(CreateOptions.of("qcow2", 1 << 20).version(2));
    Qemu.img("snapshot", "-c", "s", image());
    try (var file = new java.io.RandomAccessFile(image().toFile(), "rw")) {
      file.seek(64);
      long table = file.readLong();
      // Id "1" and name "s" move to where the extra data was.
      file.seek(table + 36);
      file.writeInt(0);
      file.write(new byte[] {'1', 's', 0, 0, 0, 0, 0, 0});
    }
    Map<String, byte[]> before = seen();

    amend(Amend.nothing().version(3).size(2 << 20));

    Map<String, byte[]> now = seen();
    assertThat(now.get("1")).isEqualTo(before.get("1"));
    assertThat(now.get("")).hasSize(2 << 20);
    Qemu.check(image()).clean();
  }

  @Test
  void aLongHeaderIsRefusedBeforeAnythingIsChanged() throws Exception {
    Files.write(folder.resolve("base"), new byte[1024]);
    create(CreateOptions.of("qcow2", 1024).clusterSize(512).version(2).backing("base", "raw"));
    Rebase.onto("x".repeat(400), "raw").unsafe(true).options(SAME_FOLDER).run(image());
    byte[] before = Files.readAllBytes(image());

    assertThatIllegalArgumentException()
        .isThrownBy(() -> Amend.nothing().version(3).run(image(), SAME_FOLDER.withoutBacking()))
        .withMessage("No space left in the file header");
    assertThat(Files.readAllBytes(image())).isEqualTo(before);
  }

  @Test
  void bitmapsAreKeptByWhatLeavesTheGuestsBytes() throws Exception {
    create(CreateOptions.of("qcow2", 1 << 20));
    Qemu.img("bitmap", "--add", "-g", "64k", image(), "b");
    Qemu.io(image(), List.of("write 128k 64k"));

    amend(Amend.nothing().refcountBits(64).lazyRefcounts(true));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> amend(Amend.nothing().version(2).refcountBits(16)))
        .withMessageContaining("bitmaps");
    amend(Amend.nothing().refcountBits(8).size(2 << 20));

    assertThat(Qemu.img("info", image())).contains("name: b").doesNotContain("in-use");
    Qemu.check(image()).clean();
  }

  @Test
  void whatVersion2DoesNotHaveIsNamed() throws Exception {
    create(CreateOptions.of("qcow2", 1 << 20).extendedL2(true));
    assertRefused(
        Amend.nothing().version(2),
        "Cannot downgrade an image with incompatible features 0x10 set");
    create(CreateOptions.of("qcow2", 1 << 20).refcountBits(8));
    assertRefused(Amend.nothing().version(2), "compat=0.10 requires refcount_bits=16");
    create(CreateOptions.of("qcow2", 1 << 20).dataFile("data", false));
    assertRefused(Amend.nothing().version(2), "Cannot downgrade an image with a data file");
    create(CreateOptions.of("qcow2", 1 << 20).compressionType("zstd"));
    try (Image image = open();
        var run = image.compress(ByteBuffer.wrap(new byte[65536]), 0)) {
      run.write();
    }
    assertRefused(
        Amend.nothing().version(2),
        "Cannot downgrade an image with zstd compression type and existing compressed clusters");
    create(CreateOptions.of("qcow2", 1 << 20));
    try (Image image = open()) {
      Snapshots.create(image, "s", Instant.EPOCH);
    }
    assertRefused(
        Amend.nothing().version(2).size(2 << 20), "Internal snapshots prevent downgrade of image");
    create(CreateOptions.of("raw", 1 << 20));
    assertThatThrownBy(() -> Amend.nothing().version(2).run(image(), SAME_FOLDER.format("raw")))
        .hasMessage("Format driver 'raw' does not support option amendment");
  }

  private void assertRefused(Amend amend, String why) throws IOException {
    byte[] before = Files.readAllBytes(image());
    assertThatIllegalArgumentException().isThrownBy(() -> amend(amend)).withMessage(why);
    assertThat(Files.readAllBytes(image())).isEqualTo(before);
  }

  @Test
  void aDataFileMayGetAnotherNameAndNeedNotStayRaw() throws Exception {
    create(CreateOptions.of("qcow2", 1 << 20).dataFile("data", true));
    try (Image image = open()) {
      image.write(ByteBuffer.wrap(Disks.random(3, 1 << 19)), 0);
    }
    Map<String, byte[]> before = seen();

    amend(Amend.nothing().dataFile("moved").dataFileRaw(false));
    Files.move(folder.resolve("data"), folder.resolve("moved"));

    Map<String, byte[]> now = seen();
    assertThat(now.get("")).isEqualTo(before.get(""));
    assertThat(info().dataFileRaw()).isFalse();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> amend(Amend.nothing().dataFileRaw(true)))
        .withMessage("data-file-raw cannot be set on existing images");

    amend(Amend.nothing().dataFile(""));
    assertThat(Images.inspect(image()).dataFile()).isNull();
  }

  @Test
  void anAmendedImageCanOnlyBeClosed() throws Exception {
    create(CreateOptions.of("qcow2", 1 << 20));
    try (Image image = open()) {
      Amend.nothing().refcountBits(8).run(image);

      assertThatThrownBy(() -> image.write(ByteBuffer.wrap(new byte[1]), 0))
          .isInstanceOf(IllegalStateException.class);
    }
    Qemu.check(image()).clean();
  }
}
