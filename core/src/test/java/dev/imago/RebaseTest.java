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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RebaseTest {
  private static final int RUNS = Boolean.getBoolean("imago.long") ? 60 : 4;
  private static final OpenOptions SAME_FOLDER = OpenOptions.of(References.sameFolder());

  @TempDir private Path folder;

  private Path file(String name) {
    return folder.resolve(name);
  }

  /** An image of its own or an overlay, with random bytes written over what it shows. */
  private Path layer(String name, CreateOptions options, long seed) throws IOException {
    Path path = file(name);
    try (Image image = Disks.created(path, options)) {
      var random = new SplittableRandom(seed);
      for (int i = 0; i < 12; i++) {
        int length = 1 + random.nextInt(100_000);
        long at = random.nextLong(image.size());
        length = (int) Math.min(length, image.size() - at);
        byte[] bytes = new byte[length];
        if (random.nextInt(3) == 0) {
          image.writeZeroes(at, length, true, false);
        } else {
          random.nextBytes(bytes);
          image.write(ByteBuffer.wrap(bytes), at);
        }
      }
    }
    return path;
  }

  private void rebase(Rebase rebase, String image) throws Exception {
    byte[] before = Disks.read(file(image));
    rebase.options(SAME_FOLDER).run(file(image));
    assertThat(Arrays.equals(Disks.read(file(image)), before)).as("our reading").isTrue();
    assertThat(Arrays.equals(Qemu.read(file(image), file("scratch")), before))
        .as("QEMU's reading")
        .isTrue();
    Qemu.check(file(image)).clean();
  }

  @Test
  void chainsOfThreeShowTheSameOnEveryOtherBackingFile() throws Exception {
    for (long seed = 1; seed <= RUNS; seed++) {
      try {
        anyChain(new SplittableRandom(seed), seed);
      } catch (AssertionError | IOException e) {
        throw new AssertionError("seed " + seed + ": " + e.getMessage(), e);
      }
    }
  }

  private void anyChain(SplittableRandom random, long seed) throws Exception {
    List<Integer> clusters = List.of(512, 4096, 65536);
    List<Long> sizes = List.of(400L << 10, (1L << 20) + 1536, 2L << 20);
    boolean rawBase = random.nextBoolean();
    String format = rawBase ? "raw" : "qcow2";
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
    layer("other", CreateOptions.of("qcow2", sizes.get(random.nextInt(3))), seed + 3000);

    rebase(Rebase.onto("base", format), "top");
    rebase(Rebase.onto("other", "qcow2"), "top");
    rebase(Rebase.onto("mid", "qcow2").parallelism(3), "top");
    rebase(Rebase.ontoNothing(), "top");
    rebase(Rebase.onto("other", "qcow2"), "top");
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3})
  void anImageWithoutBackingFileKeepsItsZeroesOnTopOfOne(int version) throws Exception {
    layer("other", CreateOptions.of("raw", 2 << 20), 7);
    Images.create(file("alone"), CreateOptions.of("qcow2", (1 << 20) + 512).version(version));

    rebase(Rebase.onto("other", "raw"), "alone");

    assertThat(Disks.read(file("alone"))).containsOnly(0);
  }

  @Test
  void whatBothBackingFilesShareIsNotCopied() throws Exception {
    layer("base", CreateOptions.of("qcow2", 1 << 20), 1);
    Images.create(file("mid"), CreateOptions.of("qcow2", 1 << 20).backing("base", "qcow2"));
    Images.create(file("top"), CreateOptions.of("qcow2", 1 << 20).backing("mid", "qcow2"));
    long length = Files.size(file("top"));

    rebase(Rebase.onto("base", "qcow2"), "top");

    assertThat(Files.size(file("top"))).isEqualTo(length);
    assertThat(Images.inspect(file("top")).backingFile()).isEqualTo("base");
  }

  @Test
  void unsafeChangesTheNameAloneAndOpensNothing() throws Exception {
    layer("base", CreateOptions.of("qcow2", 1 << 20), 1);
    Images.create(file("top"), CreateOptions.of("qcow2", 1 << 20).backing("base", "qcow2"));
    Files.delete(file("base"));

    Rebase.onto("gone", "raw")
        .unsafe(true)
        .options(OpenOptions.of(References.deny()))
        .run(file("top"));

    Inspection now = Images.inspect(file("top"));
    assertThat(now.backingFile()).isEqualTo("gone");
    assertThat(now.backingFormat()).isEqualTo("raw");
    Images.create(file("gone"), CreateOptions.of("raw", 1 << 20));
    Qemu.check(file("top")).clean();
  }

  @Test
  void aNewBackingFileThatMayNotBeOpenedChangesNothing() throws Exception {
    Path elsewhere = Files.createDirectory(file("elsewhere"));
    layer("elsewhere/other", CreateOptions.of("raw", 1 << 20), 1);
    layer("alone", CreateOptions.of("qcow2", 1 << 20), 2);
    byte[] before = Files.readAllBytes(file("alone"));

    assertThatThrownBy(
            () ->
                Rebase.onto(elsewhere.resolve("other").toString(), "raw")
                    .options(SAME_FOLDER)
                    .run(file("alone")))
        .isInstanceOfSatisfying(
            RebaseException.class,
            e -> assertThat(e.step()).isEqualTo(RebaseException.Step.OPENING_BACKING))
        .hasMessageContaining("which is not in the folder");
    assertThat(Files.readAllBytes(file("alone"))).isEqualTo(before);
  }

  @Test
  void aNameThatDoesNotFitIsRefusedAndTheGuestSeesTheSame() throws Exception {
    layer("base", CreateOptions.of("qcow2", 1 << 20), 1);
    layer("top", CreateOptions.of("qcow2", 1 << 20).clusterSize(512).backing("base", "qcow2"), 2);
    byte[] before = Disks.read(file("top"));

    assertThatThrownBy(
            () ->
                Rebase.onto("x".repeat(377), "raw")
                    .unsafe(true)
                    .options(SAME_FOLDER)
                    .run(file("top")))
        .isInstanceOf(RebaseException.class)
        .hasMessage("No space left in the file header");
    assertThat(Disks.read(file("top"))).isEqualTo(before);
    Rebase.onto("x".repeat(376), "raw").unsafe(true).options(SAME_FOLDER).run(file("top"));
    assertThat(Images.inspect(file("top")).backingFile()).hasSize(376);
  }

  @Test
  void anImageThatIsItsOwnNewBackingFileIsRefused() throws Exception {
    layer("alone", CreateOptions.of("qcow2", 1 << 20), 2);

    assertThatThrownBy(() -> Rebase.onto("alone", "qcow2").options(SAME_FOLDER).run(file("alone")))
        .isInstanceOf(RebaseException.class)
        .hasMessageContaining("infinite loop");
  }
}
