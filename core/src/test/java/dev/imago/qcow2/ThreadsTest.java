package dev.imago.qcow2;

import dev.imago.image.Image;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashImage;
import dev.imago.testing.Qemu;
import dev.imago.testing.ThreadedScript;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Eight guests whose first writes collide in the same clusters, one that flushes all the time, and
 * a metadata cache of a few slices.
 */
class ThreadsTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int THREADS = 8;
  private static final int STEPS = LONG ? 3000 : 250;
  private static final int SEEDS = LONG ? 5 : 1;
  private static final int SLICE = 4096;

  @TempDir private Path folder;

  @ParameterizedTest(name = "clusters {0}, {1} bit counts, data file: {2}, snapshot: {3}")
  @CsvSource({
    "4096, 16, false, false",
    "4096, 64, false, true",
    "65536, 16, false, false",
    "65536, 16, true, false",
    "512, 64, false, false",
    "4096, 1, true, false",
    "16384+, 16, false, true",
    "65536+, 16, true, false"
  })
  void eachSeesItsOwnBytesAndNobodyElses(
      String clusters, int refcountBits, boolean dataFile, boolean snapshot) throws Exception {
    int clusterSize = Integer.parseInt(clusters.replace("+", ""));
    for (long seed = 1; seed <= SEEDS; seed++) {
      Path file = image(clusters, refcountBits, dataFile, snapshot);
      run(file, clusterSize, FileStorage.open(file, FileStorage.Options.readWrite()), seed, false);
      Qemu.check(file).clean();
      Files.delete(file);
      Files.deleteIfExists(folder.resolve("image.data"));
    }
  }

  @ParameterizedTest(name = "clusters {0}")
  @CsvSource({"4096", "65536", "65536+"})
  void soItIsWhenStorageCallsAreSerialised(String clusters) throws Exception {
    int clusterSize = Integer.parseInt(clusters.replace("+", ""));
    Path file = image(clusters, 16, false, false);
    CrashImage content = CrashImage.of(file);
    for (long seed = 1; seed <= SEEDS; seed++) {
      var storage = new CrashGroup().storage("image", content);
      run(file, clusterSize, storage, seed, true);
      storage.content().writeTo(file);
      Qemu.check(file).clean();
    }
  }

  /**
   * Makes an image.
   *
   * @param clusters their size; with a plus, they have subclusters
   */
  private Path image(String clusters, int refcountBits, boolean dataFile, boolean snapshot)
      throws Exception {
    Path file = folder.resolve("image.qcow2");
    int clusterSize = Integer.parseInt(clusters.replace("+", ""));
    String options = "cluster_size=%d,refcount_bits=%d".formatted(clusterSize, refcountBits);
    if (clusters.endsWith("+")) {
      options += ",extended_l2=on";
    }
    if (dataFile) {
      options += ",data_file=" + folder.resolve("image.data");
    }
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, file, size(clusterSize));
    if (snapshot) {
      Qemu.img("snapshot", "-c", "before", file);
    }
    return file;
  }

  /** So many clusters that two slices of metadata are not enough, and so few that all meet. */
  private static long size(int clusterSize) {
    return switch (clusterSize) {
      case 512 -> 512L * 64 * 8;
      case 4096 -> 4096L * 512 * 4;
      case 16384 -> 16384L * 256;
      default -> 65536L * 96;
    };
  }

  private static void run(
      Path file, int clusterSize, Storage storage, long seed, boolean readsAreAtomic)
      throws Exception {
    long cache = 2L * Math.min(SLICE, clusterSize);
    Qcow2OpenOptions options =
        Qcow2OpenOptions.defaults()
            .withWritable(true)
            .withCaches(cache, cache)
            .withQuarantine(16L * clusterSize);
    ByteOracle oracle = new ByteOracle(size(clusterSize));
    boolean compressing = !Files.exists(file.resolveSibling("image.data"));
    try (Image image = Qcow2.open(storage, options, TestImages.FILES)) {
      new ThreadedScript(image, oracle, seed, THREADS, readsAreAtomic, compressing)
          .run(STEPS, true, seed % 2 == 1);
      oracle.verify(image);
    }
    if (storage instanceof FileStorage) {
      try (Image again = TestImages.openReadOnly(file)) {
        oracle.verify(again);
      }
    }
  }
}
