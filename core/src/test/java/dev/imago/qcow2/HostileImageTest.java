package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.CheckResult;
import dev.imago.image.ImageException;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.HeaderDraft;
import dev.imago.qcow2.ondisk.HeaderExtension;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.function.LongUnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Images made to eat time, memory or files. The time limit is only there so that an endless loop
 * ends; that is no measure.
 */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class HostileImageTest {
  private static final long MIB = 1 << 20;
  private static final long COPIED = Geometry.COPIED;

  /** Where the structures of {@link #image} are; the rest of the file is a hole. */
  private static final long REFTABLE = 1 << 24;

  private static final long L1 = 1 << 26;
  private static final long AREA = 1 << 28;

  @Test
  void anL1TableWhoseEntriesAllLeadToOneTable() throws Exception {
    SparseStorage image = image(16, 1L << 32, 4 << 20, i -> AREA | COPIED);
    write(image, AREA, 8192, i -> (2 * AREA + i * 65536) | COPIED);

    CheckResult result = check(image);

    assertThat(result.corruptions()).isGreaterThan(8192);
    assertThat(result.allocatedClusters()).isEqualTo(8192);
  }

  @Test
  void anL1TableWhoseEntriesLeadAllOverAHole() throws Exception {
    SparseStorage image = image(21, 1L << 50, 4 << 20, i -> AREA + (i * 3 + 1 << 21) | COPIED);

    CheckResult result = check(image);

    assertThat(result.corruptions() + result.checkErrors()).isPositive();
  }

  @Test
  void dataAllOverAHole() throws Exception {
    Random random = new Random(5);
    SparseStorage image = image(16, 1L << 54, 16, i -> AREA + i * 65536 | COPIED);
    write(image, AREA, 16 * 8192, i -> random.nextLong(1L << 38) << 16 | COPIED);

    CheckResult result = check(image);

    assertThat(result.checkErrors()).isZero();
    assertThat(result.corruptions()).isGreaterThan(16 * 8191);
  }

  @Test
  void moreDataAllOverAHoleThanCanBeCountedIsSaidSo() throws Exception {
    Random random = new Random(5);
    SparseStorage image = image(16, 1L << 54, 256, i -> AREA + i * 65536 | COPIED);
    write(image, AREA, 256 * 8192, i -> random.nextLong(1L << 38) << 16 | COPIED);

    CheckResult result = check(image);

    assertThat(result.checkErrors()).isEqualTo(1);
    assertThat(result.findings())
        .anyMatch(line -> line.startsWith("ERROR references are too scattered to be counted"));
  }

  @Test
  void snapshotsWhoseL1TablesOverlap() throws Exception {
    SparseStorage image = image(9, 1L << 32, 1, i -> 0);
    long table = AREA;
    ByteBuffer entries = ByteBuffer.allocate(65536 * 64);
    for (int i = 0; i < 65536; i++) {
      SnapshotEntry entry =
          new SnapshotEntry(
              2 * AREA + i * 512L,
              4 << 20,
              0,
              0,
              0,
              0,
              Bytes.of(new byte[24]),
              Bytes.NONE,
              Bytes.NONE);
      entry.write(entries);
    }
    image.write(entries.flip(), table);
    image.write(ByteBuffer.allocate(12).putInt(65536).putLong(table).flip(), Header.AT_SNAPSHOTS);
    write(image, 2 * AREA, 4 << 20, i -> 4 * AREA + i * 512);

    CheckResult result = check(image);

    assertThat(result.corruptions()).isPositive();
    assertThat(Qcow2.info(image).snapshots()).hasSize(65536);
  }

  @Test
  void aRefcountTableWhoseEntriesAllLeadToOneBlock() throws Exception {
    SparseStorage image = image(21, 1L << 55, 1, i -> 0);
    write(image, REFTABLE, 1 << 20, i -> AREA);
    image.write(ByteBuffer.wrap(filled(2 << 20, 0x55)), AREA);

    CheckResult result = check(image);

    assertThat(result.corruptions()).isGreaterThan(1 << 19);
    assertThat(result.findings()).hasSize(CheckResult.MAX_FINDINGS);
  }

  @Test
  void bitmapTablesThatOverlap() throws Exception {
    SparseStorage image = image(16, 1L << 50, 1, i -> 0);
    ByteBuffer directory = ByteBuffer.allocate(65535 * 32);
    for (int i = 0; i < 65535; i++) {
      new BitmapDirectoryEntry(
              2 * AREA + i * 65536L, 0x800_0000, 0, 1, 16, Bytes.NONE, Bytes.of("b" + i % 10))
          .write(directory);
    }
    ByteBuffer extension = ByteBuffer.allocate(24);
    extension.putInt(65535).putInt(0).putLong(directory.capacity()).putLong(AREA);
    HeaderCluster cluster = HeaderReader.read(image);
    Header flagged = cluster.header().withAutoclear(Header.AUTOCLEAR_BITMAPS);
    image.write(
        cluster
            .withHeader(flagged)
            .with(new HeaderExtension(HeaderExtension.BITMAPS, Bytes.of(extension.array())))
            .write(),
        0);
    image.write(directory.flip(), AREA);
    write(image, 2 * AREA, 1 << 20, i -> 8 * AREA + i * 65536);

    assertThat(check(image).corruptions()).isPositive();
    assertThat(Qcow2.info(image).bitmaps()).hasSize(65535);
  }

  @Test
  void aLuksHeaderAsLargeAsTheWorld() throws Exception {
    SparseStorage image = image(9, 1L << 55, 1, i -> 0);
    ByteBuffer pointer = ByteBuffer.allocate(16).putLong(AREA).putLong((1L << 54));
    HeaderCluster cluster = HeaderReader.read(image);
    HeaderDraft draft = new HeaderDraft(cluster.header());
    draft.cryptMethod = Header.CRYPT_LUKS;
    image.write(
        cluster
            .withHeader(draft.header())
            .with(new HeaderExtension(HeaderExtension.LUKS, Bytes.of(pointer.array())))
            .write(),
        0);

    assertThat(check(image).checkErrors()).isEqualTo(1);
  }

  @Test
  void randomDamageOfHealthyImagesEndsInAResult() throws Exception {
    Random random = new Random(11);
    int rounds = Boolean.getBoolean("imago.long") ? 20_000 : 400;
    for (int i = 0; i < rounds; i++) {
      MemoryStorage image = new MemoryStorage("fuzz");
      Qcow2CreateOptions options =
          Qcow2CreateOptions.ofSize(MIB)
              .withClusterSize(512 << random.nextInt(8))
              .withVersion(3, 1 << random.nextInt(7))
              .withPreallocation(Qcow2CreateOptions.Preallocation.METADATA);
      Qcow2.create(image, options, null);
      int metadata = (int) Math.min(image.size(), 20 * options.clusterSize());
      for (int j = random.nextInt(6); j >= 0; j--) {
        ByteBuffer damage = ByteBuffer.allocate(8).putLong(randomWord(random));
        damage.flip().limit(1 + random.nextInt(8));
        image.write(damage, random.nextInt(metadata) & (random.nextBoolean() ? -1 : -8));
      }
      byte[] before = bytes(image, metadata);
      try {
        check(image);
        Qcow2.info(image);
        Qcow2.open(image, Qcow2OpenOptions.defaults(), TestImages.FILES).close();
      } catch (ImageException e) {
        assertThat(e.field()).isNotEmpty();
      }
      assertThat(bytes(image, metadata)).isEqualTo(before);
      try {
        RepairResult result = Qcow2.repair(image, RepairMode.ALL, Progress.NONE);
        CheckResult left = check(image);
        assertThat(left.corruptions()).isEqualTo(result.left().corruptions());
        assertThat(left.leaks()).isEqualTo(result.left().leaks());
      } catch (ImageException e) {
        assertThat(e.field()).isNotEmpty();
        assertThat(bytes(image, metadata)).isEqualTo(before);
      }
    }
  }

  private static long randomWord(Random random) {
    return switch (random.nextInt(4)) {
      case 0 -> random.nextLong();
      case 1 -> random.nextLong(MIB) & -512 | COPIED;
      case 2 -> 1L << random.nextInt(64);
      default -> random.nextInt(4) - 1;
    };
  }

  @Test
  void truncatedFilesEndInTypedErrorsOrFindings() throws Exception {
    MemoryStorage whole = new MemoryStorage("whole");
    Qcow2CreateOptions options =
        Qcow2CreateOptions.ofSize(MIB)
            .withClusterSize(4096)
            .withPreallocation(Qcow2CreateOptions.Preallocation.METADATA);
    Qcow2.create(whole, options, null);
    byte[] bytes = bytes(whole, (int) whole.size());
    for (int length = 0; length < bytes.length; length += length < 600 ? 7 : 1777) {
      MemoryStorage cut = new MemoryStorage("cut");
      cut.write(ByteBuffer.wrap(bytes, 0, length), 0);
      if (length < 112) {
        assertThatThrownBy(() -> check(cut)).isInstanceOf(ImageException.class);
        assertThatThrownBy(() -> Qcow2.info(cut)).isInstanceOf(ImageException.class);
      } else if (length < 5 * 4096) {
        check(cut);
      } else {
        assertThat(check(cut).clean()).isEqualTo(length > bytes.length - 4096);
      }
    }
  }

  @Test
  void informationOpensNothingAndReadsLittle() throws Exception {
    for (String name : List.of("/dev/stdin", "json:{\"driver\":\"file\"}", "nbd://h", "a\u0001b")) {
      MemoryStorage image = new MemoryStorage("image");
      Qcow2.create(
          image,
          Qcow2CreateOptions.ofSize(MIB).withBacking(name, "raw").withDataFile(name, false),
          new MemoryStorage("data"));

      Qcow2Info info = Qcow2.info(image);

      assertThat(info.backingFile()).isEqualTo(name);
      assertThat(info.dataFile()).isEqualTo(name);
    }
  }

  /** An image of which only header, refcount table and L1 table are there. */
  private static SparseStorage image(
      int clusterBits, long fileSize, int l1Size, LongUnaryOperator l1Entries) throws IOException {
    HeaderDraft d = new HeaderDraft();
    d.clusterBits = clusterBits;
    d.size = MIB;
    d.l1Size = Math.max(l1Size, new Geometry(clusterBits, 4, 3, false).l1Entries(MIB));
    d.l1TableOffset = L1;
    d.refcountTableOffset = REFTABLE;
    d.refcountTableClusters = (8L << 20) >> clusterBits;
    SparseStorage image = new SparseStorage();
    image.write(new HeaderCluster(d.header(), List.of(), Bytes.NONE).write(), 0);
    write(image, L1, l1Size, l1Entries);
    image.resize(fileSize, Storage.Preallocation.OFF);
    return image;
  }

  private static void write(Storage image, long at, int count, LongUnaryOperator words)
      throws IOException {
    ByteBuffer table = ByteBuffer.allocate(count * 8);
    for (int i = 0; i < count; i++) {
      table.putLong(words.applyAsLong(i));
    }
    image.write(table.flip(), at);
  }

  private static CheckResult check(Storage image) throws IOException {
    return Qcow2.check(image, Progress.NONE);
  }

  private static byte[] bytes(Storage image, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    image.read(bytes, 0);
    return bytes.array();
  }

  private static byte[] filled(int length, int value) {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) value);
    return bytes;
  }
}
