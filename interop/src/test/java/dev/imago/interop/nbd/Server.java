package dev.imago.interop.nbd;

import dev.imago.nbd.NbdUri;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Somebody else's NBD server on a Unix socket, for as long as a test needs it. */
public final class Server implements AutoCloseable {
  private static final long PATIENCE_NANOS = TimeUnit.SECONDS.toNanos(60);

  private final Process process;
  private final Path socket;

  private Server(Path socket, List<String> command) throws IOException, InterruptedException {
    this.socket = socket;
    Path log = Path.of(socket + ".log");
    Files.deleteIfExists(socket);
    this.process =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    long end = System.nanoTime() + PATIENCE_NANOS;
    while (!Files.exists(socket)) {
      if (process.waitFor(5, TimeUnit.MILLISECONDS) || System.nanoTime() > end) {
        process.destroy();
        throw new AssertionError(
            command + " does not serve: " + Files.readString(log, StandardCharsets.UTF_8));
      }
    }
  }

  /** {@code qemu-nbd}, with more options, serving an image. */
  public static Server qemuNbd(Path socket, Path image, String format, String... options)
      throws IOException, InterruptedException {
    List<String> command =
        new ArrayList<>(List.of("qemu-nbd", "-t", "-k", socket.toAbsolutePath().toString()));
    command.addAll(List.of("-f", format, "-e", "8"));
    command.addAll(List.of(options));
    command.add(image.toString());
    return new Server(socket, command);
  }

  /** {@code nbdkit} with these options, plugin and filters. */
  static Server nbdkit(Path socket, Object... options) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of("nbdkit", "-f", "-U", socket.toString()));
    for (Object option : options) {
      command.add(option.toString());
    }
    return new Server(socket, command);
  }

  /** The name of an export of it. */
  String name(String export) {
    return "nbd+unix:///" + export + "?socket=" + socket;
  }

  NbdUri uri(String export) {
    return NbdUri.parse(name(export));
  }

  /** Ends it without a chance to do anything more. */
  void kill() throws InterruptedException {
    process.destroyForcibly().waitFor();
  }

  /** Waits until it has ended of its own accord. */
  boolean ends() throws InterruptedException {
    return process.waitFor(60, TimeUnit.SECONDS);
  }

  /** A signal that comes before the server is in its loop is lost on it. */
  @Override
  public void close() throws InterruptedException {
    long end = System.nanoTime() + PATIENCE_NANOS;
    do {
      process.destroy();
      if (System.nanoTime() > end) {
        kill();
      }
    } while (!process.waitFor(200, TimeUnit.MILLISECONDS));
  }
}
