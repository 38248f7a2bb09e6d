package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.FaultyStorage.Pause;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class InflatedClustersTest {
  private static final int CLUSTER = 65536;

  @TempDir private Path folder;
  private Path file;
  private FaultyStorage storage;

  @BeforeEach
  void compressedImage() throws Exception {
    file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", file, "4M");
    Qemu.io(file, List.of("write -c -P 1 0 64k", "write -c -P 2 64k 64k"));
    storage = TestImages.faulty(file);
  }

  private AtomicInteger countReadsFrom(long firstHostOffset) {
    AtomicInteger reads = new AtomicInteger();
    storage.failWhen(
        r -> {
          if (r.call() == StorageCall.READ && r.hostOffset() >= firstHostOffset) {
            reads.incrementAndGet();
          }
          return false;
        });
    return reads;
  }

  @Test
  void smallReadsInflateAClusterOnce() throws Exception {
    try (Image image = TestImages.open(storage)) {
      TestImages.read(image, 0, 512);
      AtomicInteger reads = countReadsFrom(0);
      for (int at = 0; at < CLUSTER; at += 4096) {
        assertThat(TestImages.read(image, at, 4096)).containsOnly(1);
      }
      assertThat(reads.get()).isZero();
      ByteBuffer now = ByteBuffer.allocate(4096);
      assertThat(image.readNow(now, 4096)).isTrue();
      assertThat(now.array()).containsOnly(1);
      assertThat(image.readNow(now.clear(), CLUSTER)).isFalse();
      assertThat(now.position()).isZero();
    }
  }

  @Test
  void threadsThatWantTheSameClusterInflateItOnce() throws Exception {
    try (Image image = TestImages.open(storage);
        var threads = Executors.newVirtualThreadPerTaskExecutor()) {
      TestImages.read(image, CLUSTER, 512);
      long at = ((dev.imago.image.Mapping.Encoded) image.map(0, CLUSTER)).hostOffset();
      AtomicInteger reads = new AtomicInteger();
      Pause pause =
          storage.pauseBefore(
              r -> {
                boolean wanted = r.call() == StorageCall.READ && r.hostOffset() == at;
                if (wanted) {
                  reads.incrementAndGet();
                }
                return wanted;
              });
      List<CompletableFuture<byte[]>> readers = new ArrayList<>();
      readers.add(CompletableFuture.supplyAsync(() -> read(image, 0), threads));
      pause.awaitReached();
      for (int i = 1; i < 8; i++) {
        int from = i * 512;
        readers.add(CompletableFuture.supplyAsync(() -> read(image, from), threads));
      }
      pause.resume();
      for (CompletableFuture<byte[]> reader : readers) {
        assertThat(reader.join()).containsOnly(1);
      }
      assertThat(reads.get()).isEqualTo(1);
    }
  }

  /** More clusters than are kept, so that buffers are filled again all the time. */
  @Test
  void nobodySeesTheBytesThatABufferHoldsNext() throws Exception {
    int clusters = 16;
    int size = 2 << 20;
    Path many = folder.resolve("many.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", many, clusters * size);
    List<String> writes = new ArrayList<>();
    for (int i = 0; i < clusters; i++) {
      writes.add("write -q -c -P %d %d 2M".formatted(i + 1, (long) i * size));
    }
    Qemu.io(many, writes);
    try (Image image = TestImages.openReadOnly(many);
        var threads = Executors.newFixedThreadPool(8)) {
      List<CompletableFuture<Void>> readers = new ArrayList<>();
      for (int seed = 0; seed < 8; seed++) {
        SplittableRandom random = new SplittableRandom(seed);
        readers.add(
            CompletableFuture.runAsync(
                () -> {
                  for (int i = 0; i < 100; i++) {
                    int cluster = random.nextInt(clusters);
                    long at = (long) cluster * size + random.nextInt(size - 65536);
                    ByteBuffer dst = ByteBuffer.allocate(65536);
                    try {
                      if (i % 2 == 0 || !image.readNow(dst, at)) {
                        image.read(dst.clear(), at);
                      }
                    } catch (IOException e) {
                      throw new UncheckedIOException(e);
                    }
                    byte[] expected = new byte[65536];
                    Arrays.fill(expected, (byte) (cluster + 1));
                    assertThat(dst.array()).isEqualTo(expected);
                  }
                },
                threads));
      }
      readers.forEach(CompletableFuture::join);
    }
  }

  private static byte[] read(Image image, long at) {
    try {
      return TestImages.read(image, at, 512);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void whatIsKeptIsForgottenWhenItsPlaceIsUsedAgain() throws Exception {
    try (Image image = TestImages.open(storage)) {
      for (int round = 0; round < 20; round++) {
        int value = 10 + round;
        image.writeCompressed(TestImages.filled(CLUSTER, value), 0);
        assertThat(TestImages.read(image, 100, 512)).containsOnly(value);
        image.discard(0, CLUSTER, Discard.TO_ANY);
        image.flush();
        image.flush();
        assertThat(TestImages.read(image, 100, 512)).containsOnly(0);
        assertThat(TestImages.read(image, CLUSTER, 512)).containsOnly(2);
      }
    }
    Qemu.check(file).clean();
  }

  @Test
  void aClusterThatCouldNotBeReadIsTriedAgain() throws Exception {
    try (Image image = TestImages.open(storage)) {
      TestImages.read(image, CLUSTER, 512);
      storage.failWhen(r -> r.call() == StorageCall.READ);
      org.assertj.core.api.Assertions.assertThatThrownBy(() -> TestImages.read(image, 0, 512))
          .isInstanceOf(IOException.class);
      storage.heal();
      assertThat(TestImages.read(image, 0, 512)).containsOnly(1);
    }
  }
}
