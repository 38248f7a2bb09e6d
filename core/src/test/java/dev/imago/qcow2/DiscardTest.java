package dev.imago.qcow2;

import static dev.imago.qcow2.TestImages.filled;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.image.Mapping;
import dev.imago.image.WritableRun;
import dev.imago.testing.Qemu;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What becomes of clusters, and which bytes a request really changes. */
class DiscardTest {
  private static final int CLUSTER = 65536;

  @TempDir Path folder;

  private Path image(String options, long size, String... work) throws Exception {
    Path file = folder.resolve("image.qcow2");
    Qemu.img("create", "-f", "qcow2", "-o", "cluster_size=65536" + options, file, size);
    if (work.length > 0) {
      Qemu.io(file, List.of(work));
    }
    return file;
  }

  @Test
  void theStartIsRoundedUpAndTheEndDownButUpAtTheImagesEnd() throws Exception {
    long size = 5 * CLUSTER + 512;
    Path file = image("", size, "write -P 1 0 " + size);
    try (Image image = TestImages.open(file)) {
      assertThat(image.discard(1, CLUSTER, Discard.TO_ZERO)).isEqualTo(new Range(CLUSTER, 0));
      assertThat(image.discard(1, 2 * CLUSTER, Discard.TO_ZERO))
          .isEqualTo(new Range(CLUSTER, CLUSTER));
      assertThat(image.discard(5 * CLUSTER - 1, 513, Discard.TO_ZERO))
          .isEqualTo(new Range(5 * CLUSTER, 512));
      assertThat(image.discard(5 * CLUSTER, 511, Discard.TO_ZERO))
          .isEqualTo(new Range(5 * CLUSTER, 0));
      assertThat(TestImages.read(image, CLUSTER - 1, 1)).containsOnly(1);
      assertThat(TestImages.read(image, CLUSTER, CLUSTER)).containsOnly(0);
      assertThat(TestImages.read(image, 2 * CLUSTER, 3 * CLUSTER)).containsOnly(1);
      assertThat(TestImages.read(image, 5 * CLUSTER, 512)).containsOnly(0);
    }
    assertThat(Qemu.img("check", file)).contains("No errors were found");
  }

  @Test
  void spaceIsKeptWhereThatIsAsked() throws Exception {
    Path file = image("", 1 << 20, "write -P 1 0 128k");
    try (Image image = TestImages.open(file)) {
      long host = ((Mapping.Data) image.map(0, CLUSTER)).hostOffset();
      image.discard(0, CLUSTER, Discard.TO_ZERO_KEEPING_SPACE);
      assertThat(image.map(0, CLUSTER)).isEqualTo(new Mapping.Zero(CLUSTER, true, host));
      image.write(filled(512, 2), 1024);
      assertThat(((Mapping.Data) image.map(0, CLUSTER)).hostOffset()).isEqualTo(host);
      assertThat(TestImages.read(image, 0, 1024)).containsOnly(0);
      assertThat(TestImages.read(image, 1024, 512)).containsOnly(2);
      assertThat(TestImages.read(image, 1536, CLUSTER - 1536)).containsOnly(0);
    }
    assertThat(Qemu.img("check", file)).contains("No errors were found");
  }

  @Test
  void zeroingAnUnallocatedRangeMakesNoTables() throws Exception {
    Path file = image("", 1L << 40);
    try (Image image = TestImages.open(file)) {
      image.writeZeroes(0, 1L << 40, true, false);
      image.discard(0, 1L << 40, Discard.TO_ZERO);
      assertThat(image.map(0, 1L << 40)).isEqualTo(new Mapping.Unallocated(1L << 40));
    }
  }

  @Test
  void aVersion2ImageCanBeZeroed() throws Exception {
    Path base = folder.resolve("base.qcow2");
    Qemu.img("create", "-f", "qcow2", base, "1M");
    Qemu.io(base, List.of("write -P 7 0 1M"));
    Path file = folder.resolve("old.qcow2");
    Qemu.img("create", "-f", "qcow2", "-o", "compat=0.10", "-b", base, "-F", "qcow2", file);
    try (Image image = TestImages.open(file)) {
      assertThat(image.discard(0, 1 << 20, Discard.TO_ZERO).length()).isZero();
      image.writeZeroes(100, 300_000, true, false);
      assertThat(TestImages.read(image, 100, 300_000)).containsOnly(0);
      assertThat(TestImages.read(image, 0, 100)).containsOnly(7);
      assertThat(TestImages.read(image, 300_100, 1000)).containsOnly(7);
    }
    assertThat(Qemu.img("check", file)).contains("No errors were found");
  }

  @Test
  void whatWasDiscardedGoesBackToTheHostAfterAFlush() throws Exception {
    Path file = image("", 64 << 20);
    try (Image image = TestImages.open(file)) {
      for (int i = 0; i < 32; i++) {
        image.write(filled(1 << 20, i + 1), (long) i << 20);
      }
      image.flush();
      long before = blocks(file);
      image.discard(0, 24 << 20, Discard.TO_ZERO);
      image.flush();
      assertThat(before - blocks(file))
          .as("less what the file system keeps about the holes")
          .isGreaterThan((24 << 20) - CLUSTER);
    }
  }

  private static long blocks(Path file) throws Exception {
    String du = dev.imago.testing.Tool.run("du", "-B1", file).ok().out();
    return Long.parseLong(du.substring(0, du.indexOf('\t')));
  }

  @Test
  void aReservationIsSeenOnlyAfterItsCommit() throws Exception {
    Path file = image("", 1 << 20, "write -P 1 0 64k");
    try (Image image = TestImages.open(file)) {
      try (WritableRun run = image.reserve(CLUSTER + 512, 3 * CLUSTER, true)) {
        assertThat(run.length()).isEqualTo(3 * CLUSTER);
        run.storage().write(filled((int) run.length(), 5), run.hostOffset());
        assertThat(TestImages.read(image, CLUSTER, 3 * CLUSTER)).containsOnly(0);
        run.commit();
      }
      assertThat(TestImages.read(image, CLUSTER + 512, 3 * CLUSTER)).containsOnly(5);
      assertThat(TestImages.read(image, CLUSTER, 512)).containsOnly(0);
      try (WritableRun run = image.reserve(10 * CLUSTER, CLUSTER, true)) {
        run.storage().write(filled(512, 9), run.hostOffset());
      }
      assertThat(TestImages.read(image, 10 * CLUSTER, 512)).containsOnly(0);
      try (WritableRun run = image.reserve(512, 512, false)) {
        assertThat(run.length()).isEqualTo(512);
        run.storage().write(filled(512, 6), run.hostOffset());
        run.commit();
      }
      assertThat(TestImages.read(image, 0, 512)).containsOnly(1);
      assertThat(TestImages.read(image, 512, 512)).containsOnly(6);
    }
    assertThat(Qemu.img("check", file)).contains("No errors were found");
  }
}
