package dev.imago.cli;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * {@code --fork}: the command goes on in a process of its own, in the background and in a session
 * of its own where the system has {@code setsid}; this one ends as soon as that one is ready.
 */
final class Forked {
  /** Set in the process in the background, which is waited for. */
  private static final String WAITED_FOR = "imago.waited-for";

  private static final String READY = "ready";

  private Forked() {}

  /**
   * Starts it.
   *
   * @return 0 once it is ready, or the exit code with which it ended
   */
  static int start(Terminal terminal, String command, String[] args)
      throws IOException, InterruptedException {
    List<String> line = new ArrayList<>();
    Path setsid = Path.of("/usr/bin/setsid");
    if (Files.isExecutable(setsid)) {
      line.add(setsid.toString());
    }
    line.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    line.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
    line.addAll(
        List.of(
            "-D" + WAITED_FOR + "=true",
            "-Dimago.safe=" + Safety.on(),
            "-cp",
            System.getProperty("java.class.path")));
    line.add(Main.class.getName());
    line.add(command);
    line.addAll(List.of(args));
    Process process =
        new ProcessBuilder(line)
            .redirectInput(ProcessBuilder.Redirect.from(new File("/dev/null")))
            .start();
    // Its words up to that point are ours. Afterwards nobody listens.
    Thread words = Thread.ofPlatform().daemon().start(() -> relay(terminal, process));
    try (BufferedReader out = process.inputReader()) {
      if (READY.equals(out.readLine())) {
        return 0;
      }
    }
    int code = process.waitFor();
    words.join();
    return code == 0 ? 1 : code;
  }

  /** Whether this is the process in the background: it forks no more. */
  static boolean waitedFor() {
    return Boolean.getBoolean(WAITED_FOR);
  }

  private static void relay(Terminal terminal, Process process) {
    try (InputStream err = process.getErrorStream()) {
      err.transferTo(terminal.err());
    } catch (IOException e) {
      // The process has ended.
      return;
    }
  }

  /** The command is ready; whoever waits for it need not any more. */
  static void ready(Terminal terminal) {
    if (waitedFor()) {
      terminal.line(READY);
      terminal.out().flush();
    }
  }
}
