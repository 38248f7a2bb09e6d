package dev.imago.bench;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** An NBD server in a process of its own, at a Unix socket, and what it has cost so far. */
final class NbdServerProcess implements Closeable {
  private static final long PATIENCE_NANOS = TimeUnit.SECONDS.toNanos(60);

  /** The kernel tells processor time in these; USER_HZ is 100 on all of Linux that Java runs on. */
  private static final long TICK_NANOS = 10_000_000;

  /** Which of the words behind the program's name in /proc/PID/stat are utime and stime. */
  private static final int USER_TIME = 11;

  private static final int SYSTEM_TIME = 12;

  /** Among the words of a line of /proc/net/unix: the flag __SO_ACCEPTCON. */
  private static final String LISTENING = " 00010000 ";

  private final Process process;
  private final Path socket;
  private final Path log;

  /**
   * Starts it, and returns when it listens.
   *
   * @param command with the socket's name in it; becomes the server itself, so that its processor
   *     time is the server's
   * @throws IOException with what it said if it ended instead
   */
  NbdServerProcess(List<String> command, Path socket) throws IOException {
    this.socket = socket;
    this.log = Path.of(socket + ".log");
    Files.deleteIfExists(socket);
    this.process =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    long end = System.nanoTime() + PATIENCE_NANOS;
    while (!listens()) {
      if (ends(2) || System.nanoTime() > end) {
        String said = Files.readString(log).strip();
        close();
        throw new IOException(String.join(" ", command) + ": " + said);
      }
    }
  }

  /** Its file is there before it listens, and who comes between is refused. */
  private boolean listens() throws IOException {
    try (Stream<String> sockets = Files.lines(Path.of("/proc/net/unix"))) {
      return sockets.anyMatch(line -> line.contains(LISTENING) && line.endsWith(" " + socket));
    }
  }

  private boolean ends(long millis) throws IOException {
    try {
      return process.waitFor(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      throw new IOException("interrupted", e);
    }
  }

  /** The name of its only export. */
  String uri() {
    return "nbd+unix:///?socket=" + socket;
  }

  /**
   * What processors did for it since it was started, in steps of 10 ms.
   *
   * @param userNanos in the program
   * @param systemNanos in the kernel
   */
  record Busy(long userNanos, long systemNanos) {}

  Busy busy() throws IOException {
    String stat = Files.readString(Path.of("/proc/" + process.pid() + "/stat"));
    // The name before it may have blanks, and parentheses, but no more than one at its end.
    String[] words = stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1);
    return new Busy(
        TICK_NANOS * Long.parseLong(words[USER_TIME]),
        TICK_NANOS * Long.parseLong(words[SYSTEM_TIME]));
  }

  /** Has it end, and waits until it has. */
  @Override
  public void close() throws IOException {
    process.destroy();
    if (!ends(TimeUnit.NANOSECONDS.toMillis(PATIENCE_NANOS))) {
      process.destroyForcibly();
    }
    Files.deleteIfExists(socket);
    Files.deleteIfExists(log);
  }
}
