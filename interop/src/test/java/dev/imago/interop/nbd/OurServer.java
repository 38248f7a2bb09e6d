package dev.imago.interop.nbd;

import dev.imago.cli.Main;
import java.io.BufferedReader;
import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** {@code imago serve} in a process of its own. */
public final class OurServer implements Closeable {
  private final Process process;
  private final CompletableFuture<String> err = new CompletableFuture<>();
  private final boolean ready;

  private OurServer(Process process) throws IOException {
    this.process = process;
    // Not a task of the common pool, which has few threads and runs other tools, too.
    Thread.ofPlatform()
        .daemon()
        .start(
            () ->
                err.complete(
                    process.errorReader(StandardCharsets.UTF_8).lines().toList().toString()));
    BufferedReader out = process.inputReader(StandardCharsets.UTF_8);
    this.ready = "ready".equals(out.readLine());
  }

  /** Starts it with these arguments, and returns when clients can connect, or it has ended. */
  public static OurServer start(Object... arguments) throws IOException {
    return new OurServer(new ProcessBuilder(commandLine(arguments)).start());
  }

  /** What starts it; it says {@code ready}. */
  static List<String> commandLine(Object... arguments) {
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "--enable-native-access=ALL-UNNAMED",
                "-Dimago.waited-for=true",
                "-cp",
                classPath,
                Main.class.getName(),
                "serve"));
    Arrays.stream(arguments).map(Object::toString).forEach(command::add);
    return command;
  }

  /** The URI of an export at a Unix socket. */
  static String uri(Path socket, String export) {
    return "nbd+unix:///" + export + "?socket=" + socket;
  }

  boolean ready() {
    return ready;
  }

  /** The number of its process. */
  long pid() {
    return process.pid();
  }

  /** SIGKILL. */
  public void kill() throws InterruptedException {
    process.destroyForcibly().waitFor();
  }

  /** SIGTERM. */
  void terminate() {
    process.destroy();
  }

  /** How it ended. */
  int status() throws InterruptedException {
    return process.waitFor();
  }

  /** All that it said on its error stream; it must have ended. */
  String words() {
    return err.join();
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
