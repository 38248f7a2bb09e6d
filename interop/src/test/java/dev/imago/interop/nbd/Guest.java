package dev.imago.interop.nbd;

import dev.imago.testing.Tool;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * A Linux machine, emulated by QEMU in software, whose root file system is an NBD export. Its
 * programs are in {@code interop/src/test/guest}; its kernel is fetched by {@code .ci/guest}.
 */
final class Guest implements AutoCloseable {
  private static final long PATIENCE_SECONDS = 600;

  private static final Path ROOT =
      Path.of(System.getProperty("imago.root")).toAbsolutePath().normalize();
  private static final Path SCRIPTS = ROOT.resolve("interop/src/test/guest");
  private static final Path PROGRAMS = ROOT.resolve("interop/target/guest");

  private final Process process;
  private final BufferedReader console;
  private final StringBuilder seen = new StringBuilder();

  private Guest(Process process) {
    this.process = process;
    this.console = process.inputReader(StandardCharsets.UTF_8);
    // A machine that hangs is switched off, which ends its console and so the test.
    CompletableFuture.delayedExecutor(PATIENCE_SECONDS, TimeUnit.SECONDS)
        .execute(process::destroyForcibly);
  }

  /**
   * Puts what the machine needs into the folder that becomes its root file system.
   *
   * @param root an empty folder
   */
  static void furnish(Path root) throws IOException, InterruptedException {
    Tool.run(ROOT.resolve(".ci/guest")).ok();
    for (String name : List.of("bin", "dev", "proc")) {
      Files.createDirectory(root.resolve(name));
    }
    Files.copy(PROGRAMS.resolve("busybox"), root.resolve("bin/busybox"));
    Files.copy(SCRIPTS.resolve("root-init"), root.resolve("init"));
  }

  /**
   * Switches the machine on.
   *
   * @param scratch an empty folder
   * @param disk the export that holds its root file system
   * @param task what it does once it has started: a function of {@code root-init}
   */
  static Guest start(Path scratch, String disk, String task)
      throws IOException, InterruptedException {
    return new Guest(
        new ProcessBuilder(
                "qemu-system-x86_64",
                "-no-user-config",
                "-nodefaults",
                "-no-reboot",
                "-accel",
                "tcg",
                "-smp",
                "2",
                "-m",
                "256",
                "-display",
                "none",
                "-serial",
                "stdio",
                "-kernel",
                PROGRAMS.resolve("vmlinuz").toString(),
                "-initrd",
                initramfs(scratch).toString(),
                "-append",
                "console=ttyS0 quiet panic=-1 task=" + task,
                "-drive",
                "if=virtio,format=raw,discard=unmap,werror=stop,rerror=stop,file=" + disk)
            .redirectErrorStream(true)
            .start());
  }

  private static Path initramfs(Path scratch) throws IOException, InterruptedException {
    Path root = Files.createDirectory(scratch.resolve("initramfs"));
    for (String name : List.of("bin", "dev", "root", "drivers")) {
      Files.createDirectory(root.resolve(name));
    }
    Files.copy(PROGRAMS.resolve("busybox"), root.resolve("bin/busybox"));
    Files.copy(SCRIPTS.resolve("initramfs-init"), root.resolve("init"));
    try (DirectoryStream<Path> drivers = Files.newDirectoryStream(PROGRAMS, "*.ko*")) {
      for (Path driver : drivers) {
        Files.copy(driver, root.resolve("drivers").resolve(driver.getFileName()));
      }
    }
    Path archive = scratch.resolve("initramfs.cpio");
    String pack = "cd \"$1\" && find . | bin/busybox cpio -o -H newc > \"$2\"";
    Tool.run("sh", "-c", pack, "sh", root, archive).ok();
    return archive;
  }

  /**
   * Waits until the console shows such a line, and returns it; fails if the machine ends before.
   */
  String line(String part) throws IOException {
    for (String line = console.readLine(); line != null; line = console.readLine()) {
      seen.append(line).append('\n');
      if (line.contains(part)) {
        return line;
      }
    }
    throw new AssertionError("the guest ended without '" + part + "':\n" + seen);
  }

  /** Waits until the machine has switched itself off. */
  void end() throws IOException, InterruptedException {
    for (String line = console.readLine(); line != null; line = console.readLine()) {
      seen.append(line).append('\n');
    }
    if (process.waitFor() != 0) {
      throw new AssertionError(
          "qemu-system-x86_64 ended with " + process.exitValue() + ":\n" + seen);
    }
  }

  /** Pulls the plug. */
  @Override
  public void close() {
    process.destroyForcibly();
  }
}
