package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Mapping;
import dev.imago.storage.Storage;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.Qemu;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Free clusters are found among many in use, wherever their counts are kept. */
class FreeSearchTest {
  private static final int CLUSTER = 8192;
  private static final int CLUSTERS = 9000;

  @TempDir private Path folder;

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 4, 8, 16, 32, 64})
  void theFirstFreeClusterIsTakenWhetherTheDiskOrTheCacheKnowsOfIt(int refcountBits)
      throws Exception {
    Path file = folder.resolve("full.qcow2");
    String options =
        "cluster_size=%d,refcount_bits=%d,preallocation=metadata".formatted(CLUSTER, refcountBits);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, (long) CLUSTERS * CLUSTER);

    long early;
    long late;
    try (Image image = TestImages.open(file)) {
      early = free(image, 3000);
      late = free(image, 8000);
      image.flush();
      // The cache knows of both, and of nothing between them.
      assertThat(hostOfWritten(image, 8000)).isEqualTo(early);
      assertThat(hostOfWritten(image, 3000)).isEqualTo(late);
      free(image, 3000);
      free(image, 8000);
    }
    Qemu.check(file).clean();

    try (Image image = TestImages.open(file)) {
      assertThat(hostOfWritten(image, 3000)).isEqualTo(early);
      long middle = free(image, 5000);
      image.flush();
      assertThat(hostOfWritten(image, 8000)).isEqualTo(middle);
      assertThat(hostOfWritten(image, 5000)).isEqualTo(late);
    }
    Qemu.check(file).clean();
  }

  /** It went round for ever between two slices, of which the cache could hold one. */
  @Test
  @Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void aTableIsPlacedBehindMoreUsedClustersThanTheCacheCanTellOf() throws Exception {
    Path file = folder.resolve("full.qcow2");
    String options = "cluster_size=%d,preallocation=metadata".formatted(CLUSTER);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, (long) CLUSTERS * CLUSTER);

    long longer = 20L << 30; // an L1 table of three clusters
    try (Image image = TestImages.openWithCaches(file, 4096)) {
      free(image, 100);
      free(image, 300); // two places that are too small: the search goes on behind the second
      image.flush();
      image.resize(longer, Storage.Preallocation.OFF, false);
      assertThat(image.size()).isEqualTo(longer);
    }
    Qemu.check(file).clean();
  }

  @Test
  void aPartOfARefcountBlockThatCannotBeReadDoesNotMatterWhileItIsNotNeeded() throws Exception {
    Path file = folder.resolve("full.qcow2");
    String options = "cluster_size=%d,preallocation=metadata".formatted(CLUSTER);
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, (long) CLUSTERS * CLUSTER);
    long free;
    try (Image image = TestImages.open(file)) {
      free = free(image, 100);
    }
    long block = TestImages.word(file, TestImages.word(file, 48));
    FaultyStorage disk = TestImages.faulty(file);
    disk.failWhen(r -> r.call() == StorageCall.READ && r.touches(block + 4096, 4096));

    try (Image image = TestImages.open(disk)) {
      assertThat(hostOfWritten(image, 100)).isEqualTo(free);
    }
    Qemu.check(file).clean();
  }

  private static long free(Image image, int guestCluster) throws IOException {
    long host = host(image, guestCluster);
    image.discard((long) guestCluster * CLUSTER, CLUSTER, Discard.TO_ZERO);
    return host;
  }

  private static long hostOfWritten(Image image, int guestCluster) throws IOException {
    image.write(TestImages.filled(CLUSTER, 1), (long) guestCluster * CLUSTER);
    return host(image, guestCluster);
  }

  private static long host(Image image, int guestCluster) throws IOException {
    Mapping mapping = image.map((long) guestCluster * CLUSTER, CLUSTER);
    assertThat(mapping).isInstanceOf(Mapping.Data.class);
    return ((Mapping.Data) mapping).hostOffset();
  }
}
