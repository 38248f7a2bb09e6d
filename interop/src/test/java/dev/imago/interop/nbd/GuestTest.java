package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Convert;
import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A Linux machine runs on a disk that we serve: an overlay over an ext4 file system. */
class GuestTest {
  private static final int BLOCK = 4096;

  /** What the guest repeats to make a file. */
  private static final int SEED = (256 << 10) - 100;

  /** What the guest writes and leaves there, but for a few bytes. */
  private static final long LARGE = 96L * SEED;

  /** What it writes and removes. */
  private static final long REMOVED = 16L << 20;

  /** The file after which the server is killed; the guest keeps the last eight. */
  private static final int KEPT = 20;

  /** What e2fsck says when the journal has set all right. */
  private static final String UNTOUCHED =
      """
      Pass 1: Checking inodes, blocks, and sizes
      Pass 2: Checking directory structure
      Pass 3: Checking directory connectivity
      Pass 4: Checking reference counts
      Pass 5: Checking group summary information
      """;

  @TempDir private Path folder;
  private final byte[] seed = new byte[SEED];
  private Path tree;
  private Path base;
  private Path overlay;
  private Path socket;

  @BeforeEach
  void makeItsDisk() throws Exception {
    tree = Files.createDirectory(folder.resolve("tree"));
    Guest.furnish(tree);
    Random random = new Random(1);
    random.nextBytes(seed);
    Path old = Files.createDirectory(tree.resolve("old"));
    Files.write(old.resolve("seed"), seed);
    Files.writeString(old.resolve("text"), "some\n");
    for (String name : new String[] {"changed", "removed"}) {
      byte[] bytes = new byte[4 << 20];
      random.nextBytes(bytes);
      Files.write(old.resolve(name), bytes);
    }
    base = folder.resolve("base.raw");
    Tool.run("mke2fs", "-q", "-t", "ext4", "-b", BLOCK, "-d", tree, base, "128M").ok();
    overlay = folder.resolve("overlay.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay);
    socket = folder.resolve("socket");
  }

  private OurServer serve() throws IOException {
    OurServer server = OurServer.start("-f", "qcow2", "-t", "-k", socket, overlay);
    assertThat(server.ready()).as("server is ready").isTrue();
    return server;
  }

  private Guest guest(String task) throws Exception {
    return Guest.start(Files.createTempDirectory(folder, "guest"), OurServer.uri(socket, ""), task);
  }

  @Test
  void whatItWritesIsThereAfterItHasShutDown() throws Exception {
    String before = sha256(base);
    try (OurServer server = serve();
        Guest guest = guest("work")) {
      String sum = guest.line("guest: ");
      guest.line("guest: done");
      guest.end();
      server.terminate();
      assertThat(server.status()).as(server.words()).isZero();
      doItsWork();
      assertThat(sum).as("what the guest read again").contains(sha256(tree.resolve("large")));
    }

    Qemu.check(overlay).clean();
    assertThat(sha256(base)).as("the base").isEqualTo(before);
    Path disk = folder.resolve("disk.raw");
    Qemu.img("convert", "-f", "qcow2", "-O", "raw", overlay, disk);
    Tool.run("e2fsck", "-fn", disk).ok();
    Path out = Files.createDirectory(folder.resolve("out"));
    Tool.run("debugfs", "-R", "rdump / " + out, disk).ok();
    Files.delete(out.resolve("lost+found"));
    Tool.run("diff", "-r", tree, out).ok();
    assertThat(space(overlay))
        .as("host space of the overlay: the large file, and not what was removed")
        .isBetween(LARGE, LARGE + REMOVED / 2);
    assertThat(Files.mismatch(disk, convert())).isEqualTo(-1);
  }

  /** What the guest's {@code work} does, done to the folder that its disk was made of. */
  private void doItsWork() throws Exception {
    Path large = tree.resolve("large");
    try (OutputStream out = Files.newOutputStream(large)) {
      for (int i = 0; i < 96; i++) {
        out.write(seed);
        out.write((i + "\n").getBytes(StandardCharsets.US_ASCII));
      }
    }
    Path small = Files.createDirectory(tree.resolve("small"));
    for (int i = 2; i <= 200; i += 2) {
      Files.writeString(small.resolve("" + i), "small file " + i + "\n");
    }
    Path old = tree.resolve("old");
    Files.writeString(old.resolve("renamed"), "some\nmore\n");
    Files.delete(old.resolve("text"));
    byte[] changed = Files.readAllBytes(old.resolve("changed"));
    System.arraycopy(Files.readAllBytes(large), 100 * BLOCK, changed, 37 * BLOCK, 301 * BLOCK);
    Files.write(old.resolve("changed"), changed);
    Files.delete(old.resolve("removed"));
  }

  private Path convert() throws IOException {
    Path to = folder.resolve("ours.raw");
    try (Image image =
        Images.open(overlay, OpenOptions.of(References.sameFolder()).format("qcow2"))) {
      Convert.from(image).to(to, CreateOptions.of("raw", image.size()));
    }
    return to;
  }

  private static String sha256(Path file) throws Exception {
    return Tool.run("sha256sum", file).ok().out().substring(0, 64);
  }

  private static long space(Path file) throws Exception {
    String du = Tool.run("du", "-B1", file).ok().out();
    return Long.parseLong(du.substring(0, du.indexOf('\t')));
  }

  @Test
  void whatItMadeDurableIsThereAfterItsServerWasKilled() throws Exception {
    try (OurServer server = serve();
        Guest guest = guest("endless")) {
      guest.line("guest: kept " + KEPT);
      server.kill();
    }

    Qemu.check(overlay).withoutErrors();
    Path disk = folder.resolve("disk.raw");
    Qemu.img("convert", "-f", "qcow2", "-O", "raw", overlay, disk);
    Tool.Outcome repair = Tool.run("e2fsck", "-fy", disk);
    // ext4 leaves the totals of free blocks and inodes to be counted anew. Nothing else is wrong.
    assertThat(repair.out())
        .as(repair.toString())
        .contains("recovering journal", UNTOUCHED)
        .doesNotContain("differences", "for group");
    assertThat(repair.status()).isLessThanOrEqualTo(1);
    Tool.run("e2fsck", "-fn", disk).ok();
    for (int i = KEPT - 7; i <= KEPT; i++) {
      Path out = folder.resolve("kept" + i);
      Tool.run("debugfs", "-R", "dump /kept" + i + " " + out, disk).ok();
      byte[] head = (i + "\n").getBytes(StandardCharsets.US_ASCII);
      byte[] expected = Arrays.copyOf(head, head.length + seed.length);
      System.arraycopy(seed, 0, expected, head.length, seed.length);
      assertThat(Files.readAllBytes(out)).as("kept" + i).isEqualTo(expected);
    }
  }
}
