package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Mapping;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.FaultyStorage.Pause;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A request that has looked up a host cluster and has not yet done its I/O keeps the cluster from
 * everybody else, whatever happens to the mapping meanwhile.
 */
class ReuseTest {
  private static final int CLUSTER = 4096;
  private static final int CLUSTERS = 512;
  private static final int LOOKED_AT = 7;

  @TempDir private Path folder;
  private Path file;
  private FaultyStorage storage;
  private Image image;
  private long hostOffset;

  private interface Work {
    void run() throws IOException;
  }

  @BeforeEach
  void fillSomeClusters() throws Exception {
    file = folder.resolve("image.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", file, CLUSTERS * CLUSTER);
    storage = TestImages.faulty(file);
    image = TestImages.open(storage);
    for (int i = 0; i < 16; i++) {
      image.write(TestImages.filled(CLUSTER, 1), (long) i * CLUSTER);
    }
    image.flush();
    hostOffset = hostOffset();
  }

  @AfterEach
  void theImageIsClean() throws Exception {
    image.close();
    Qemu.check(file).clean();
  }

  @Test
  void aReadThatIsHeldUpNeverShowsAnothersBytes() throws Exception {
    Pause pause = storage.pauseBefore(r -> r.call() == StorageCall.READ && touches(r));
    CompletableFuture<byte[]> reader =
        CompletableFuture.supplyAsync(
            () -> {
              try {
                return TestImages.read(image, LOOKED_AT * CLUSTER, CLUSTER);
              } catch (IOException e) {
                throw new UncheckedIOException(e);
              }
            });
    pause.awaitReached();

    discardAndUseEverythingElse(2, CLUSTERS - 1);

    pause.resume();
    assertThat(reader.join()).containsOnly(1);
    everythingReads(2);
  }

  @Test
  void aWriteInPlaceThatIsHeldUpNeverReachesAnothersBytes() throws Exception {
    Pause pause = storage.pauseBefore(r -> write(r) && touches(r));
    CompletableFuture<Void> writer =
        inBackground(() -> image.write(TestImages.filled(CLUSTER, 3), (long) LOOKED_AT * CLUSTER));
    pause.awaitReached();

    discardAndUseEverythingElse(2, CLUSTERS - 1);

    pause.resume();
    writer.join();
    image.flush();
    everythingReads(2);
    assertThat(TestImages.read(image, LOOKED_AT * CLUSTER, CLUSTER)).containsOnly(0);
  }

  @Test
  void aPinKeepsWhatWasMappedAsItWas() throws Exception {
    ByteBuffer seen = ByteBuffer.allocate(CLUSTER);
    try (Image.Pin _ = image.pin()) {
      long mapped = hostOffset();
      discardAndUseEverythingElse(2, CLUSTERS - 1);
      storage.read(seen, mapped);
    }
    assertThat(seen.array()).containsOnly(1);
    everythingReads(2);
  }

  @Test
  void theClusterIsUsedAgainOnceTheRequestHasEnded() throws Exception {
    Pause pause = storage.pauseBefore(r -> r.call() == StorageCall.READ && touches(r));
    CompletableFuture<Void> reader =
        inBackground(() -> TestImages.read(image, LOOKED_AT * CLUSTER, CLUSTER));
    pause.awaitReached();
    discardAndUseEverythingElse(2, 40);
    pause.resume();
    reader.join();
    image.flush();
    image.flush();
    for (int i = 40; i < CLUSTERS; i++) {
      image.write(TestImages.filled(CLUSTER, 2), (long) i * CLUSTER);
    }

    boolean used = false;
    for (int i = 40; i < CLUSTERS; i++) {
      used |=
          image.map((long) i * CLUSTER, CLUSTER) instanceof Mapping.Data data
              && data.hostOffset() == hostOffset;
    }
    assertThat(used).isTrue();
  }

  @Test
  void aFirstWriteThatIsHeldUpSharesItsClusterWithAnother() throws Exception {
    Pause pause = storage.pauseBefore(this::write);
    CompletableFuture<Void> first =
        inBackground(() -> image.write(TestImages.filled(512, 5), 100L * CLUSTER));
    pause.awaitReached();
    CompletableFuture<Void> second =
        inBackground(() -> image.write(TestImages.filled(512, 6), 100L * CLUSTER + 512));
    pause.resume();
    first.join();
    second.join();

    assertThat(TestImages.read(image, 100L * CLUSTER, 512)).containsOnly(5);
    assertThat(TestImages.read(image, 100L * CLUSTER + 512, 512)).containsOnly(6);
  }

  @Test
  void whatAFirstWriteHasNotFinishedNobodySees() throws Exception {
    Pause pause = storage.pauseAfter(this::write);
    CompletableFuture<Void> writer =
        inBackground(() -> image.write(TestImages.filled(CLUSTER, 5), 100L * CLUSTER));
    pause.awaitReached();

    assertThat(TestImages.read(image, 100L * CLUSTER, CLUSTER)).containsOnly(0);
    image.flush();
    assertThat(TestImages.read(image, 100L * CLUSTER, CLUSTER)).containsOnly(0);

    pause.resume();
    writer.join();
    assertThat(TestImages.read(image, 100L * CLUSTER, CLUSTER)).containsOnly(5);
  }

  private boolean write(FaultyStorage.Request request) {
    return request.call() == StorageCall.WRITE || request.call() == StorageCall.WRITEV;
  }

  private boolean touches(FaultyStorage.Request request) {
    return request.touches(hostOffset, CLUSTER);
  }

  private long hostOffset() throws IOException {
    return ((Mapping.Data) image.map(LOOKED_AT * CLUSTER, CLUSTER)).hostOffset();
  }

  /** Discards the cluster, makes that durable, and allocates all that can be allocated. */
  private void discardAndUseEverythingElse(int value, int to) throws IOException {
    image.discard(LOOKED_AT * CLUSTER, CLUSTER, Discard.TO_ZERO);
    image.flush();
    image.flush();
    for (int i = 0; i < to; i++) {
      if (i != LOOKED_AT) {
        image.write(TestImages.filled(CLUSTER, value), (long) i * CLUSTER);
      }
      if (i % 16 == 0) {
        image.flush();
      }
    }
  }

  private void everythingReads(int value) throws IOException {
    for (int i = 0; i < CLUSTERS - 1; i++) {
      if (i != LOOKED_AT) {
        assertThat(TestImages.read(image, (long) i * CLUSTER, CLUSTER)).containsOnly(value);
      }
    }
  }

  private static CompletableFuture<Void> inBackground(Work work) {
    return CompletableFuture.runAsync(
        () -> {
          try {
            work.run();
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        });
  }
}
