package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.storage.StorageIoException;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;

/**
 * Long writes into a file of ext4 ask for their blocks first; what is seen of a file is the same.
 * On file systems of their own, which need a loop device and the right to mount it.
 */
@EnabledIfSystemProperty(named = "imago.long", matches = "true")
class BlocksAtOnceTest {
  private static final int MIB = 1 << 20;
  private static final int BLOCK = 4096;

  @TempDir private Path folder;
  private Path mount;

  @BeforeEach
  void mount() throws Exception {
    Path disk = folder.resolve("disk");
    mount = Files.createDirectory(folder.resolve("mount"));
    Tool.run("truncate", "-s", 32 * MIB, disk).ok();
    Tool.run("mkfs.ext4", "-q", "-b", BLOCK, "-O", "^has_journal", disk).ok();
    Tool.run("mount", "-o", "loop", disk, mount).ok();
  }

  @AfterEach
  void unmount() throws Exception {
    Tool.run("umount", mount).ok();
  }

  private static ByteBuffer random(int length) {
    byte[] bytes = new byte[length];
    new Random(length).nextBytes(bytes);
    return ByteBuffer.allocateDirect(length).put(bytes).flip();
  }

  /** First and last block of what has been asked for and not yet been put on the disk. */
  private static List<String> asked(Path file) throws Exception {
    // extent, first to last block in the file, first to last on the disk, length, flags
    return Pattern.compile("^ *\\d+: +(\\d+)\\.\\. +(\\d+):.*\\bunwritten\\b.*$", Pattern.MULTILINE)
        .matcher(Tool.run("filefrag", "-v", file).ok().out())
        .results()
        .map(extent -> extent.group(1) + "-" + extent.group(2))
        .toList();
  }

  @Test
  void longWritesAskForTheirBlocksAndForNoOthers() throws Exception {
    Path file = mount.resolve("file");
    byte[] expected = new byte[8 * MIB + 2 * BLOCK];
    try (Storage storage = FileStorage.create(file, FileStorage.Options.readWrite())) {
      storage.write(random(MIB), 0);
      storage.write(new ByteBuffer[] {random(MIB), random(MIB)}, 3L * MIB);
      storage.write(random(2 * BLOCK), 8L * MIB);
      random(MIB).get(expected, 0, MIB);
      random(MIB).get(expected, 3 * MIB, MIB);
      random(MIB).get(expected, 4 * MIB, MIB);
      random(2 * BLOCK).get(expected, 8 * MIB, 2 * BLOCK);

      assertThat(asked(file)).containsExactly("0-255", "768-1279");
      assertThat(storage.size()).isEqualTo(expected.length);
      assertThat(storage.allocatedBytes()).isEqualTo(3 * MIB + 2 * BLOCK);
      assertThat(storage.run(0, expected.length)).isEqualTo(new Storage.Run(true, MIB));
      assertThat(storage.run(MIB, expected.length)).isEqualTo(new Storage.Run(false, 2 * MIB));
      storage.flush();
    }

    assertThat(asked(file)).isEmpty();
    assertThat(Files.readAllBytes(file)).isEqualTo(expected);
  }

  @Test
  void aFullFileSystemIsReportedAndWhatWasThereStays() throws Exception {
    Path file = mount.resolve("file");
    try (Storage storage = FileStorage.create(file, FileStorage.Options.readWrite())) {
      storage.write(random(MIB), 0);
      assertThatThrownBy(() -> fill(storage))
          .isInstanceOf(StorageIoException.class)
          .hasMessageContaining("No space left on device");

      ByteBuffer first = ByteBuffer.allocate(MIB);
      storage.read(first, 0);
      assertThat(first.flip()).isEqualTo(random(MIB));
    }
  }

  private static void fill(Storage storage) throws IOException {
    for (long at = MIB; at < 64 * MIB; at += MIB) {
      storage.write(random(MIB), at);
    }
  }

  @Test
  void aFileSystemThatPutsPagesThereItselfIsNotAsked() throws Exception {
    Path other = Files.createDirectory(folder.resolve("memory"));
    Tool.run("mount", "-t", "tmpfs", "tmpfs", other).ok();
    try {
      Path trace = folder.resolve("trace");
      Path source = folder.resolve("a.raw");
      byte[] bytes = new byte[4 * MIB];
      new Random(4).nextBytes(bytes);
      Files.write(source, bytes);

      assertThat(asks(source, mount.resolve("b"), trace)).isEqualTo(4);
      assertThat(asks(source, other.resolve("b"), trace)).isZero();
      assertThat(Files.mismatch(source, other.resolve("b"))).isEqualTo(-1);
    } finally {
      Tool.run("umount", other).ok();
    }
  }

  /** Ext2 by ext4's driver: the same number, and no extents. */
  @Test
  void aFileSystemThatCannotIsNotAskedAgain() throws Exception {
    Path disk = folder.resolve("disk2");
    Path other = Files.createDirectory(folder.resolve("mount2"));
    Tool.run("truncate", "-s", 32 * MIB, disk).ok();
    Tool.run("mkfs.ext2", "-q", disk).ok();
    Tool.run("mount", "-o", "loop", disk, other).ok();
    try {
      Path source = folder.resolve("a.raw");
      byte[] bytes = new byte[4 * MIB];
      new Random(4).nextBytes(bytes);
      Files.write(source, bytes);

      assertThat(asks(source, other.resolve("b"), folder.resolve("trace"))).isEqualTo(1);
      assertThat(Files.mismatch(source, other.resolve("b"))).isEqualTo(-1);
    } finally {
      Tool.run("umount", other).ok();
    }
  }

  private static long asks(Path source, Path target, Path trace) throws Exception {
    Tool.run(
            "strace",
            "-f",
            "-e",
            "trace=fallocate",
            "-o",
            trace,
            imago(),
            "convert",
            source,
            target)
        .ok();
    try (var lines = Files.lines(trace)) {
      return lines.filter(line -> line.contains("fallocate(")).count();
    }
  }

  private static Path imago() {
    return Path.of(System.getProperty("imago.root")).toAbsolutePath().resolve("imago");
  }
}
