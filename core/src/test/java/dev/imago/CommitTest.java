package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CommitTest {
  private static final int RUNS = Boolean.getBoolean("imago.long") ? 60 : 4;
  private static final OpenOptions SAME_FOLDER = OpenOptions.of(References.sameFolder());

  @TempDir private Path folder;

  private Path file(String name) {
    return folder.resolve(name);
  }

  private void layer(String name, CreateOptions options, long seed) throws IOException {
    try (Image image = Disks.created(file(name), options)) {
      var random = new SplittableRandom(seed);
      for (int i = 0; i < 12; i++) {
        long at = random.nextLong(image.size());
        int length = (int) Math.min(1 + random.nextInt(100_000), image.size() - at);
        byte[] bytes = new byte[length];
        if (random.nextInt(3) == 0) {
          image.writeZeroes(at, length, true, false);
        } else {
          random.nextBytes(bytes);
          image.write(ByteBuffer.wrap(bytes), at);
        }
      }
    }
  }

  private void chain(SplittableRandom random, long seed) throws IOException {
    List<Integer> clusters = List.of(512, 4096, 65536);
    List<Long> sizes = List.of(400L << 10, (1L << 20) + 1536, 2L << 20);
    String format = random.nextBoolean() ? "raw" : "qcow2";
    layer("base", CreateOptions.of(format, sizes.get(random.nextInt(3))), seed);
    layer(
        "mid",
        CreateOptions.of("qcow2", sizes.get(random.nextInt(3)))
            .clusterSize(clusters.get(random.nextInt(3)))
            .backing("base", format),
        seed + 1000);
    layer(
        "top",
        CreateOptions.of("qcow2", sizes.get(random.nextInt(3)))
            .clusterSize(clusters.get(random.nextInt(3)))
            .version(random.nextInt(3) == 0 ? 2 : 3)
            .backing("mid", "qcow2"),
        seed + 2000);
  }

  private void assertHolds(String name, byte[] bytes) throws Exception {
    byte[] now = Disks.read(file(name));
    assertThat(Arrays.equals(Arrays.copyOf(now, bytes.length), bytes)).as(name).isTrue();
    if (Images.inspect(file(name)).format().equals("qcow2")) {
      Qemu.check(file(name)).clean();
    }
  }

  @Test
  void theBackingImageThenHoldsWhatTheImageShows() throws Exception {
    for (long seed = 1; seed <= RUNS; seed++) {
      try {
        chain(new SplittableRandom(seed), seed);
        byte[] shown = Disks.read(file("top"));
        Commit.of(file("top")).options(SAME_FOLDER).run();
        assertHolds("mid", shown);
        assertHolds("top", shown);
        Commit.of(file("mid")).options(SAME_FOLDER).parallelism(3).run();
        assertHolds("base", shown);
        assertHolds("mid", shown);
        assertHolds("top", shown);
      } catch (AssertionError | IOException e) {
        throw new AssertionError("seed " + seed + ": " + e.getMessage(), e);
      }
    }
  }

  @Test
  void fartherDownTheChainTheImageIsLeftAsItIs() throws Exception {
    for (long seed = 1; seed <= RUNS; seed++) {
      try {
        chain(new SplittableRandom(seed), seed);
        byte[] shown = Disks.read(file("top"));
        byte[] top = Files.readAllBytes(file("top"));
        Commit.of(file("top")).options(SAME_FOLDER).into("base").run();
        assertHolds("base", shown);
        assertHolds("top", shown);
        assertThat(Arrays.equals(Files.readAllBytes(file("top")), top)).isTrue();
      } catch (AssertionError | IOException e) {
        throw new AssertionError("seed " + seed + ": " + e.getMessage(), e);
      }
    }
  }

  @Test
  void anEmptiedImageHoldsNothingAndABackingImageIsNeverMadeShorter() throws Exception {
    layer("base", CreateOptions.of("qcow2", 3 << 20), 1);
    layer("top", CreateOptions.of("qcow2", 1 << 20).backing("base", "qcow2"), 2);

    Commit.of(file("top")).options(SAME_FOLDER).run();

    assertThat(Images.inspect(file("base")).virtualSize()).isEqualTo(3 << 20);
    try (Image top = Images.openReadOnly(file("top"), References.sameFolder())) {
      assertThat(top.extents(0, top.size())).allMatch(extent -> extent.depth() == 1);
    }
  }

  @Test
  void whatStandsBehindMustBeThere() throws Exception {
    layer("base", CreateOptions.of("qcow2", 1 << 20), 1);
    layer("top", CreateOptions.of("qcow2", 1 << 20).backing("base", "qcow2"), 2);

    assertThatThrownBy(() -> Commit.of(file("base")).options(SAME_FOLDER).run())
        .isInstanceOf(CommitException.class)
        .hasMessage("Image does not have a backing file");
    assertThatThrownBy(() -> Commit.of(file("top")).options(SAME_FOLDER).into("zz").run())
        .isInstanceOf(CommitException.class)
        .hasMessage("Did not find 'zz' in the backing chain of '%s'", file("top"));
  }

  @Test
  void theReferencesAreJudgedForTheBackingImageThatIsWrittenToToo() throws Exception {
    layer("base", CreateOptions.of("qcow2", 1 << 20), 1);
    layer("top", CreateOptions.of("qcow2", 1 << 20).backing("base", "qcow2"), 2);
    byte[] before = Files.readAllBytes(file("base"));

    assertThatThrownBy(() -> Commit.of(file("top")).run())
        .hasMessageContaining("no references are allowed");
    assertThat(Files.readAllBytes(file("base"))).isEqualTo(before);
  }
}
