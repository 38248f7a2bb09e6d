package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.CompressedRun;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Mapping;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.SyncMode;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.internal.Buffers;
import dev.imago.raw.Raw;
import dev.imago.storage.FileStorage;
import dev.imago.storage.MemoryStorage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CompressedWriteTest {
  private static final int CLUSTER = 65536;
  private static final int SIZE = 4 << 20;

  @TempDir private Path folder;

  private Path image(String options) throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, SIZE);
    return file;
  }

  /** Bytes that become a tenth or so, different for each seed. */
  private static byte[] text(int length, int seed) {
    byte[] bytes = new byte[length];
    Random random = new Random(seed);
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) (i % 16 == 0 ? random.nextInt() : seed);
    }
    return bytes;
  }

  private static byte[] noise(int length) {
    byte[] bytes = new byte[length];
    new Random(1).nextBytes(bytes);
    return bytes;
  }

  /** The pool keeps 8 of each size: after 8 images it would have had none left. */
  @Test
  void theMemoryOfEncodedClustersGoesBackToThePoolAtClose() throws Exception {
    Path file = image("cluster_size=2M");
    Set<Long> before = pooled(4 << 20);
    Image image = TestImages.open(file);
    compress(image, text(SIZE, 1), 0);
    CompressedRun late = image.compress(ByteBuffer.wrap(text(SIZE, 2)), 0);
    image.close();
    late.close();

    assertThat(pooled(4 << 20)).isEqualTo(before);
  }

  /** Where the buffers of that size are that the pool keeps. */
  private static Set<Long> pooled(int size) {
    List<Buffers.Lease> all = new ArrayList<>();
    Set<Long> addresses = new TreeSet<>();
    for (int i = 0; i < 8; i++) {
      Buffers.Lease lease = Buffers.take(size);
      all.add(lease);
      addresses.add(MemorySegment.ofBuffer(lease.buffer()).address());
    }
    all.forEach(Buffers.Lease::close);
    return addresses;
  }

  private static void compress(Image image, byte[] bytes, long guestOffset) throws IOException {
    image.writeCompressed(ByteBuffer.wrap(bytes), guestOffset);
  }

  private static Mapping.Encoded encoded(Image image, long guestOffset) throws IOException {
    return (Mapping.Encoded) image.map(guestOffset, CLUSTER);
  }

  @ParameterizedTest
  @CsvSource({
    "'cluster_size=512'",
    "'cluster_size=512,refcount_bits=1'",
    "'cluster_size=4096,refcount_bits=2'",
    "'cluster_size=65536,compat=0.10'",
    "'cluster_size=65536,refcount_bits=64,compression_type=zstd'",
    "'cluster_size=65536,refcount_bits=1,compression_type=zstd'",
    "'cluster_size=2M'",
    "'cluster_size=16384,extended_l2=on'",
    "'cluster_size=65536,extended_l2=on,compression_type=zstd'"
  })
  void qemuReadsWhatWasCompressedAndFindsEveryCountRight(String options) throws Exception {
    Path file = image(options);
    byte[] bytes = text(SIZE, 3);
    try (Image image = TestImages.open(file)) {
      int chunk = Math.max(image.clusterSize(), 1 << 18);
      for (int at = 0; at < SIZE; at += 2 * chunk) {
        compress(image, Arrays.copyOfRange(bytes, at, at + chunk), at);
        Arrays.fill(bytes, at + chunk, Math.min(SIZE, at + 2 * chunk), (byte) 0);
      }
      assertThat(TestImages.read(image, 0, SIZE)).isEqualTo(bytes);
    }
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("raw"))).isEqualTo(bytes);
  }

  @Test
  void clustersLieOneBehindTheOtherAndShareHostClusters() throws Exception {
    Path file = image("cluster_size=65536");
    try (Image image = TestImages.open(file)) {
      compress(image, text(16 * CLUSTER, 1), 0);
      Mapping.Encoded first = encoded(image, 0);
      Mapping.Encoded second = encoded(image, CLUSTER);
      assertThat(second.hostOffset() - first.hostOffset()).isBetween(1L, CLUSTER / 4L);
    }
    long used = FileStorage.open(file, FileStorage.Options.readOnly()).size();
    assertThat(used).isLessThan(12L * CLUSTER);
    Qemu.check(file).clean();
  }

  @Test
  void aClusterMayCrossIntoTheNextHostClusterIfThatIsFree() throws Exception {
    Path file = image("cluster_size=4096");
    try (Image image = TestImages.open(file)) {
      boolean crosses = false;
      for (int i = 0; i < 64; i++) {
        compress(image, text(4096, i), i * 4096L);
        Mapping.Encoded now = (Mapping.Encoded) image.map(i * 4096L, 4096);
        crosses |= now.hostOffset() / 4096 != (now.hostOffset() + 300) / 4096;
      }
      assertThat(crosses).isTrue();
    }
    Qemu.check(file).clean();
  }

  @Test
  void oneBitCountsForceAHostClusterForEach() throws Exception {
    Path file = image("refcount_bits=1");
    try (Image image = TestImages.open(file)) {
      compress(image, text(4 * CLUSTER, 1), 0);
      for (int i = 0; i < 4; i++) {
        assertThat(encoded(image, i * (long) CLUSTER).hostOffset() % CLUSTER).isZero();
      }
    }
    Qemu.check(file).clean();
  }

  @Test
  void whatDoesNotBecomeShorterIsStoredAsItIs() throws Exception {
    Path file = image("cluster_size=65536");
    byte[] noise = noise(CLUSTER);
    try (Image image = TestImages.open(file)) {
      compress(image, noise, 0);
      assertThat(image.map(0, CLUSTER)).isInstanceOf(Mapping.Data.class);
    }
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("raw"))).startsWith(noise);
  }

  /** QEMU 7.2 appends here to a cluster that was freed meanwhile. */
  @ParameterizedTest
  @CsvSource({"false, 16", "true, 16", "false, 1", "true, 64"})
  void nothingIsAppendedToAClusterThatWasFreedMeanwhile(boolean flush, int bits) throws Exception {
    Path file = image("refcount_bits=" + bits);
    byte[] plain = TestImages.filled(CLUSTER, 7).array();
    byte[] again = text(CLUSTER, 2);
    try (Image image = TestImages.open(file)) {
      compress(image, text(CLUSTER, 1), 0);
      long freed = encoded(image, 0).hostOffset() / CLUSTER;
      image.discard(0, CLUSTER, Discard.TO_ANY);
      if (flush) {
        image.flush();
        image.flush();
      }
      image.write(ByteBuffer.wrap(plain), 1 << 20);
      compress(image, again, 2 << 20);
      if (!flush) {
        assertThat(encoded(image, 2 << 20).hostOffset() / CLUSTER).isNotEqualTo(freed);
      }
      assertThat(TestImages.read(image, 1 << 20, CLUSTER)).isEqualTo(plain);
      assertThat(TestImages.read(image, 2 << 20, CLUSTER)).isEqualTo(again);
      assertThat(TestImages.read(image, 0, CLUSTER)).containsOnly(0);
    }
    Qemu.check(file).clean();
    byte[] seen = Qemu.read(file, folder.resolve("raw"));
    assertThat(Arrays.copyOfRange(seen, 1 << 20, (1 << 20) + CLUSTER)).isEqualTo(plain);
    assertThat(Arrays.copyOfRange(seen, 2 << 20, (2 << 20) + CLUSTER)).isEqualTo(again);
  }

  @Test
  void aClusterOfWhichAPartIsInQuarantineIsNotAppendedTo() throws Exception {
    Path file = image("cluster_size=65536");
    try (Image image = TestImages.open(file)) {
      compress(image, text(2 * CLUSTER, 1), 0);
      long shared = encoded(image, CLUSTER).hostOffset() / CLUSTER;
      image.discard(0, CLUSTER, Discard.TO_ANY);
      compress(image, text(CLUSTER, 2), 1 << 20);
      assertThat(encoded(image, 1 << 20).hostOffset() / CLUSTER).isNotEqualTo(shared);
    }
    Qemu.check(file).clean();
  }

  /** Files were 1 % longer: a host cluster whose neighbour was taken kept what room it had left. */
  @Test
  void whatRoomAHostClusterHasLeftIsFilledLater() throws Exception {
    Path file = image("cluster_size=65536");
    byte[] bytes = new byte[SIZE];
    try (Image image = TestImages.open(file)) {
      long gap = leaveAGap(image, bytes);
      write(image, bytes, text(CLUSTER, 4), 3);
      write(image, bytes, text(CLUSTER, 5), 4);

      long third = encoded(image, 3L * CLUSTER).hostOffset();
      assertThat(third).isGreaterThan(encoded(image, 0).hostOffset());
      assertThat(third / CLUSTER).isEqualTo(gap);
      assertThat(encoded(image, 4L * CLUSTER).hostOffset()).isGreaterThan(third);
      assertThat(encoded(image, 4L * CLUSTER).hostOffset() / CLUSTER).isEqualTo(gap);
      assertThat(TestImages.read(image, 0, SIZE)).isEqualTo(bytes);
    }
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("raw"))).isEqualTo(bytes);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void noRoomIsFilledOfAHostClusterThatWasFreed(boolean flush) throws Exception {
    Path file = image("cluster_size=65536");
    byte[] bytes = new byte[SIZE];
    try (Image image = TestImages.open(file)) {
      long gap = leaveAGap(image, bytes);
      image.discard(0, CLUSTER, Discard.TO_ANY);
      Arrays.fill(bytes, 0, CLUSTER, (byte) 0);
      if (flush) {
        image.flush();
        image.flush();
      }
      byte[] plain = noise(CLUSTER);
      image.write(ByteBuffer.wrap(plain), 5L * CLUSTER);
      System.arraycopy(plain, 0, bytes, 5 * CLUSTER, CLUSTER);
      write(image, bytes, text(CLUSTER, 4), 3);

      assertThat(encoded(image, 3L * CLUSTER).hostOffset() / CLUSTER).isNotEqualTo(gap);
      assertThat(TestImages.read(image, 0, SIZE)).isEqualTo(bytes);
    }
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("raw"))).isEqualTo(bytes);
  }

  /**
   * A short compressed cluster at 0, one that is stored as it is behind it, and one that is too
   * long for the room between them; the number of the host cluster with that room.
   */
  private static long leaveAGap(Image image, byte[] bytes) throws IOException {
    write(image, bytes, text(CLUSTER, 1), 0);
    write(image, bytes, noise(CLUSTER), 1);
    byte[] half = noise(CLUSTER);
    Arrays.fill(half, 0, 2048, (byte) 0);
    write(image, bytes, half, 2);
    long first = encoded(image, 0).hostOffset() / CLUSTER;
    assertThat(encoded(image, 2L * CLUSTER).hostOffset() / CLUSTER).isNotEqualTo(first);
    return first;
  }

  private static void write(Image image, byte[] bytes, byte[] cluster, int number)
      throws IOException {
    compress(image, cluster, (long) number * CLUSTER);
    System.arraycopy(cluster, 0, bytes, number * CLUSTER, CLUSTER);
  }

  @Test
  void whateverWasThereIsReplaced() throws Exception {
    Path file = image("cluster_size=65536");
    byte[] bytes = text(6 * CLUSTER, 9);
    try (Image image = TestImages.open(file)) {
      image.write(TestImages.filled(CLUSTER, 1), 0);
      image.writeZeroes(CLUSTER, CLUSTER, false, false);
      compress(image, text(CLUSTER, 1), 2L * CLUSTER);
      image.write(TestImages.filled(CLUSTER, 1), 3L * CLUSTER);
      image.writeZeroes(3L * CLUSTER, CLUSTER, false, false);
      compress(image, noise(CLUSTER), 4L * CLUSTER);
      compress(image, bytes, 0);
      for (int i = 0; i < 6; i++) {
        encoded(image, i * (long) CLUSTER);
      }
      assertThat(TestImages.read(image, 0, bytes.length)).isEqualTo(bytes);
    }
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("raw"))).startsWith(bytes);
  }

  @Test
  void theLastClusterMayBeShort() throws Exception {
    Path file = folder.resolve("image.qcow2");
    int size = 3 * CLUSTER + 1536;
    Qemu.img("create", "-q", "-f", "qcow2", file, size);
    byte[] bytes = text(size, 4);
    try (Image image = TestImages.open(file)) {
      compress(image, bytes, 0);
      assertThat(image.map(3L * CLUSTER, CLUSTER)).isInstanceOf(Mapping.Encoded.class);
      image.resize(4L * CLUSTER, dev.imago.storage.Storage.Preallocation.OFF, false);
      assertThat(TestImages.read(image, 0, 4 * CLUSTER))
          .isEqualTo(Arrays.copyOf(bytes, 4 * CLUSTER));
    }
    Qemu.check(file).clean();
  }

  @Test
  void nothingIsChangedBeforeTheRunIsWritten() throws Exception {
    Path file = image("cluster_size=65536");
    try (Image image = TestImages.open(file)) {
      CompressedRun run = image.compress(ByteBuffer.wrap(text(CLUSTER, 1)), 0);
      assertThat(image.map(0, CLUSTER)).isInstanceOf(Mapping.Unallocated.class);
      run.write();
      assertThat(image.map(0, CLUSTER)).isInstanceOf(Mapping.Encoded.class);
      assertThatThrownBy(run::write).isInstanceOf(IllegalStateException.class);
      run.close();
      CompressedRun other = image.compress(ByteBuffer.wrap(text(CLUSTER, 1)), CLUSTER);
      other.close();
      assertThatThrownBy(other::write).isInstanceOf(IllegalStateException.class);
      assertThat(image.map(CLUSTER, CLUSTER)).isInstanceOf(Mapping.Unallocated.class);
    }
    Qemu.check(file).clean();
  }

  @Test
  void imagesOfQemuAreContinuedAndTheOtherWayRound() throws Exception {
    Path file = image("cluster_size=65536");
    Qemu.io(file, List.of("write -c -P 1 0 64k", "write -c -P 2 64k 64k"));
    try (Image image = TestImages.open(file)) {
      compress(image, TestImages.filled(CLUSTER, 3).array(), 2L * CLUSTER);
      image.write(TestImages.filled(512, 4), 512);
      compress(image, TestImages.filled(CLUSTER, 5).array(), 3L * CLUSTER);
    }
    Qemu.check(file).clean();
    Qemu.io(
        file,
        List.of(
            "write -c -P 6 256k 64k",
            "read -P 1 0 512",
            "read -P 4 512 512",
            "read -P 1 1k 63k",
            "read -P 2 64k 64k",
            "read -P 3 128k 64k",
            "read -P 5 192k 64k",
            "read -P 6 256k 64k"));
    Qemu.check(file).clean();
  }

  @Test
  void aWriteThatFailsLeavesWhatWasThereAndLeaksNothing() throws Exception {
    Path file = image("cluster_size=65536");
    FaultyStorage storage = TestImages.faulty(file);
    try (Image image = TestImages.open(storage)) {
      compress(image, text(CLUSTER, 1), 0);
      storage.failWhen(r -> r.call() == StorageCall.WRITE);
      assertThatThrownBy(() -> compress(image, text(CLUSTER, 2), 0))
          .isInstanceOf(IOException.class);
      storage.heal();
      assertThat(TestImages.read(image, 0, CLUSTER)).isEqualTo(text(CLUSTER, 1));
      compress(image, text(CLUSTER, 3), CLUSTER);
      assertThat(TestImages.read(image, CLUSTER, CLUSTER)).isEqualTo(text(CLUSTER, 3));
    }
    Qemu.check(file).clean();
  }

  @Test
  void rangesThatAreNoWholeClustersAreRefused() throws Exception {
    try (Image image = TestImages.open(image("cluster_size=65536"))) {
      assertThatThrownBy(() -> compress(image, new byte[CLUSTER], 512))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("65536 bytes at guest offset 512 are no whole clusters");
      assertThatThrownBy(() -> compress(image, new byte[512], 0))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> compress(image, new byte[CLUSTER], SIZE))
          .isInstanceOf(IndexOutOfBoundsException.class);
    }
  }

  @Test
  void imagesThatCannotHoldCompressedClustersSaySo() throws Exception {
    Path data = folder.resolve("data");
    Path file = image("data_file=" + data);
    try (Image image = TestImages.open(file)) {
      assertThatThrownBy(() -> compress(image, new byte[CLUSTER], 0))
          .isInstanceOf(UnsupportedFeatureException.class)
          .hasMessageContaining("none are allowed in an image with a data file");
    }
    try (Image image = TestImages.openReadOnly(file)) {
      assertThatThrownBy(() -> compress(image, new byte[CLUSTER], 0))
          .isInstanceOf(ReadOnlyImageException.class);
    }
    MemoryStorage memory = new MemoryStorage("memory");
    memory.resize(CLUSTER, dev.imago.storage.Storage.Preallocation.OFF);
    try (Image image = Raw.open(memory, true, SyncMode.FULL)) {
      assertThatThrownBy(() -> compress(image, new byte[CLUSTER], 0))
          .isInstanceOf(UnsupportedFeatureException.class)
          .hasMessage("memory: compressed clusters: images of format raw have none");
    }
  }

  @Test
  void aShortWindowIsReadByQemuAndCostsLength() throws Exception {
    Path file = image("cluster_size=65536");
    byte[] bytes = new byte[2 * CLUSTER];
    Random random = new Random(8);
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) (i < 8000 ? random.nextInt() : bytes[i - 8000]);
    }
    Qcow2OpenOptions options =
        Qcow2OpenOptions.defaults().withWritable(true).withCompression(9, true);
    long usual;
    try (Image image = TestImages.open(file)) {
      compress(image, bytes, 1 << 20);
      usual = encoded(image, 1 << 20).encodedLength();
    }
    try (Image image =
        Qcow2.open(
            FileStorage.open(file, FileStorage.Options.readWrite()), options, TestImages.FILES)) {
      compress(image, Arrays.copyOf(text(CLUSTER, 1), CLUSTER), 0);
    }
    assertThat(usual).isLessThan(CLUSTER / 2);
    Qemu.check(file).clean();
    assertThat(Qemu.read(file, folder.resolve("raw"))).startsWith(text(CLUSTER, 1));
  }
}
