package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Convert;
import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.References;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** An ext4 file system of 1 GiB with this machine's own files in it. */
class RealFileSystemTest {
  private static final long SIZE = 1L << 30;
  private static final long HALF = SIZE / 2;
  private static final long FILES = Boolean.getBoolean("imago.long") ? 600L << 20 : 120L << 20;

  @TempDir Path folder;
  private Path tree;
  private Path raw;

  @BeforeEach
  void makeFileSystem() throws Exception {
    tree = folder.resolve("tree");
    Files.createDirectory(tree);
    copySomeFiles(Path.of("/usr/lib"), FILES / 2);
    copySomeFiles(Path.of("/usr/share"), FILES / 2);
    raw = folder.resolve("disk.raw");
    Tool.run("mke2fs", "-q", "-t", "ext4", "-d", tree, raw, SIZE / 1024).ok();
    assertThat(Files.size(raw)).isEqualTo(SIZE);
  }

  private void copySomeFiles(Path from, long bytes) throws IOException {
    long left = bytes;
    try (Stream<Path> all = Files.walk(from)) {
      for (Path file : (Iterable<Path>) all::iterator) {
        if (!Files.isRegularFile(file, java.nio.file.LinkOption.NOFOLLOW_LINKS)
            || Files.size(file) > left) {
          continue;
        }
        Path copy = tree.resolve(Path.of("/").relativize(file));
        Files.createDirectories(copy.getParent());
        Files.copy(file, copy);
        left -= Files.size(file);
        if (left < 4096) {
          return;
        }
      }
    }
  }

  private Path convert(Path from, String name, String format) throws IOException {
    Path to = folder.resolve(name);
    try (Image image = Images.openReadOnly(from, References.deny())) {
      Convert.from(image).to(to, CreateOptions.of(format, image.size()));
    }
    return to;
  }

  @Test
  void isWholeAfterRawToQcow2ToRaw() throws Exception {
    Path qcow2 = convert(raw, "disk.qcow2", "qcow2");
    assertThat(Qemu.img("check", qcow2)).contains("No errors were found");
    Path again = convert(qcow2, "again.raw", "raw");

    assertThat(Files.mismatch(raw, again)).isEqualTo(-1);
    Tool.run("e2fsck", "-fn", again).ok();
    Path out = folder.resolve("out");
    Files.createDirectory(out);
    Tool.run("debugfs", "-R", "rdump / " + out, again).ok();
    Files.delete(out.resolve("lost+found"));
    Tool.run("diff", "-r", tree, out).ok();
    assertThat(space(again)).isLessThanOrEqualTo(space(raw) + (1 << 20));
  }

  @Test
  void givesHalfOfItsSpaceBackWhenHalfIsDiscarded() throws Exception {
    Path qcow2 = convert(raw, "disk.qcow2", "qcow2");
    for (Path disk : List.of(qcow2, raw)) {
      try (Image image =
          Images.open(
              disk,
              OpenOptions.of(References.deny())
                  .format(disk == raw ? "raw" : "qcow2")
                  .writable(true))) {
        long data =
            image.extents(0, HALF).filter(extent -> !extent.zero()).mapToLong(Extent::length).sum();
        long before = space(disk);
        image.discard(0, HALF, Discard.TO_ZERO);
        image.flush();
        assertThat(before - space(disk))
            .as(disk + " gives back what lay in its first half")
            .isBetween(data - (1 << 20), data + (1 << 20));
        assertThat(data).isGreaterThan(FILES / 4);
        assertThat(image.extents(0, HALF).allMatch(Extent::zero)).isTrue();
      }
    }
    assertThat(Qemu.img("check", qcow2)).contains("No errors were found");
  }

  private static long space(Path file) throws Exception {
    String du = Tool.run("du", "-B1", file).ok().out();
    return Long.parseLong(du.substring(0, du.indexOf('\t')));
  }
}
