package dev.imago.interop;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code convert -C}: the kernel copies. */
class OffloadTest {
  private static final Path IMAGO =
      Path.of(System.getProperty("imago.root")).toAbsolutePath().resolve("imago");
  private static final long MIB = 1 << 20;

  @TempDir private Path folder;

  private static void fill(Path file, long length) throws IOException {
    Random random = new Random(length);
    byte[] bytes = new byte[(int) MIB];
    try (OutputStream out = Files.newOutputStream(file)) {
      for (long done = 0; done < length; done += bytes.length) {
        random.nextBytes(bytes);
        out.write(bytes, 0, (int) Math.min(bytes.length, length - done));
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"raw, qcow2", "qcow2, raw", "qcow2, qcow2"})
  void theKernelCopiesAllTheData(String from, String to) throws Exception {
    long size = 20 * MIB + 65536 + 512;
    Path raw = folder.resolve("a.raw");
    Path source = from.equals("raw") ? raw : folder.resolve("source");
    Path target = folder.resolve("target");
    Path trace = folder.resolve("trace");
    fill(raw, size);
    if (!source.equals(raw)) {
      Qemu.img("convert", "-f", "raw", "-O", from, raw, source);
    }

    Tool.run(
            "strace",
            "-f",
            "-e",
            "trace=copy_file_range",
            "-o",
            trace,
            IMAGO,
            "convert",
            "-C",
            "-f",
            from,
            "-O",
            to,
            source,
            target)
        .ok();

    // All but what is left of the last cluster, or the first block of a raw target.
    assertThat(copied(trace)).isBetween(size - 65536, size);
    assertThat(Qemu.img("compare", "-f", "raw", "-F", to, raw, target))
        .isEqualTo("Images are identical.\n");
  }

  private static long copied(Path trace) throws IOException {
    // A call that another thread's has interrupted ends on a line of its own.
    Matcher results =
        Pattern.compile("copy_file_range(?:\\(| resumed>).*\\) += (\\d+)$", Pattern.MULTILINE)
            .matcher(Files.readString(trace));
    return results.results().mapToLong(result -> Long.parseLong(result.group(1))).sum();
  }

  /** A file system of its own, which needs a loop device and the right to mount it. */
  @ParameterizedTest
  @CsvSource({"xfs, raw", "xfs, qcow2", "btrfs, raw", "btrfs, qcow2"})
  @EnabledIfSystemProperty(named = "imago.long", matches = "true")
  void fileSystemsThatCanShareTheBlocks(String fileSystem, String format) throws Exception {
    long size = 512 * MIB;
    Path disk = folder.resolve("disk");
    Path mount = Files.createDirectory(folder.resolve("mount"));
    Tool.run("truncate", "-s", 6 * size, disk).ok();
    Tool.run("mkfs." + fileSystem, "-q", disk).ok();
    Tool.run("mount", "-o", "loop", disk, mount).ok();
    try {
      Path raw = mount.resolve("a.raw");
      Path source = mount.resolve("source");
      Path target = mount.resolve("target");
      fill(raw, size);
      Qemu.img("convert", "-f", "raw", "-O", format, raw, source);
      long before = freeOf(mount);

      Tool.run(IMAGO, "convert", "-C", "-f", format, "-O", format, source, target).ok();

      assertThat(before - freeOf(mount)).isLessThan(size / 10);
      assertThat(Qemu.img("compare", "-f", "raw", "-F", format, raw, target))
          .isEqualTo("Images are identical.\n");
    } finally {
      Tool.run("umount", mount).ok();
    }
  }

  /** What is free once everything is where it is to stay. */
  private static long freeOf(Path mount) throws Exception {
    Tool.run("sync", "-f", mount).ok();
    FileStore store = Files.getFileStore(mount);
    return store.getUnallocatedSpace();
  }

  @Test
  void theTargetIsAsLongAsQemus() throws Exception {
    Path raw = folder.resolve("a.raw");
    fill(raw, 3 * MIB);
    Path ours = folder.resolve("ours");
    Path theirs = folder.resolve("theirs");

    Tool.run(IMAGO, "convert", "-C", "-f", "raw", "-O", "qcow2", raw, ours).ok();
    Qemu.img("convert", "-C", "-f", "raw", "-O", "qcow2", raw, theirs);

    assertThat(Files.size(ours)).isEqualTo(Files.size(theirs));
    assertThat(Qemu.img("compare", "-f", "qcow2", "-F", "qcow2", ours, theirs))
        .isEqualTo("Images are identical.\n");
    Qemu.check(ours).clean();
  }
}
