package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * {@code ./imago serve} started by others with a socket that they have opened, as systemd does it:
 * by libnbd's programs, and by a program of some lines; and started in the background.
 */
class ActivationTest {
  private static final String IMAGO =
      Path.of(System.getProperty("imago.root")).toAbsolutePath().resolve("imago").toString();

  /**
   * Becomes the command line with sockets as descriptors from 3 on.
   *
   * <p>Arguments: {@code listening}, {@code tcp}, {@code connected} or {@code file}; how many; the
   * paths of the sockets, separated by commas; the command line.
   */
  private static final String MANAGER =
      """
      import os, socket, sys
      kind, count, paths = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
      kept = []
      for i in range(count):
          if kind == "listening":
              s = socket.socket(socket.AF_UNIX)
              s.bind(paths[i])
              s.listen()
          elif kind == "tcp":
              s = socket.socket(socket.AF_INET)
              s.bind(("127.0.0.1", 0))
              s.listen()
              with open(paths[i], "w") as f:
                  f.write(str(s.getsockname()[1]))
          elif kind == "connected":
              s, other = socket.socketpair()
          else:
              s = open(paths[i], "w+")
          kept.append(s)
      # Out of the way first: one of them may be descriptor 3 itself.
      high = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(kept)]
      for i, fd in enumerate(high):
          os.dup2(fd, 3 + i, inheritable=True)
          os.close(fd)
      os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()),
                        LISTEN_FDNAMES=":".join(["disk"] * count))
      os.execv(sys.argv[4], sys.argv[4:])
      """;

  @TempDir private Path folder;
  private Path image;
  private Path socket;

  @BeforeAll
  static void buildOnce() throws Exception {
    Tool.run(IMAGO, "--version").ok();
  }

  @BeforeEach
  void makeAnImage() throws Exception {
    image = folder.resolve("disk.qcow2");
    socket = folder.resolve("socket");
    Qemu.img("create", "-q", "-f", "qcow2", image, "4M");
    Qemu.io(image, List.of("write -P 1 1M 1M"));
  }

  private Process activated(String kind, int count, Path paths, Object... serve) throws Exception {
    List<String> line = new ArrayList<>(List.of("/usr/bin/python3", "-c", MANAGER, kind));
    StringBuilder all = new StringBuilder();
    for (int i = 0; i < count; i++) {
      all.append(i == 0 ? "" : ",").append(paths).append(i == 0 ? "" : "." + i);
    }
    line.addAll(List.of(String.valueOf(count), all.toString(), IMAGO, "serve", "-f", "qcow2"));
    for (Object argument : serve) {
      line.add(argument.toString());
    }
    return new ProcessBuilder(line).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
  }

  @Test
  void libnbdStartsUsForOneClient() throws Exception {
    Path copy = folder.resolve("copy.raw");
    Object[] us = {"[", IMAGO, "serve", "-f", "qcow2", image, "]"};
    assertThat(
            Tool.run("nbdinfo", "--size", "--", us[0], us[1], us[2], us[3], us[4], us[5], us[6])
                .ok()
                .out())
        .isEqualTo("4194304\n");
    Tool.run("nbdcopy", "--", us[0], us[1], us[2], us[3], us[4], us[5], us[6], copy).ok();
    Qemu.img("compare", "-f", "qcow2", "-F", "raw", image, copy);

    byte[] other = new byte[4 << 20];
    new Random(3).nextBytes(other);
    Files.write(copy, other);
    Tool.run("nbdcopy", "--flush", "--", copy, us[0], us[1], us[2], us[3], us[4], us[5], us[6])
        .ok();
    // libnbd ends us as soon as it has gone; that too leaves a whole image.
    Qemu.check(image).withoutErrors();
    Qemu.img("compare", "-U", "-f", "qcow2", "-F", "raw", image, copy);
  }

  @Test
  void socketOfAServiceManagerIsServedAndLeftWhereItIs() throws Exception {
    Process server = activated("listening", 1, socket, image);
    try {
      awaitFile(socket, server); // clients wait in its queue until we are there
      assertThat(Tool.run("nbdinfo", "--size", OurServer.uri(socket, "")).ok().out())
          .isEqualTo("4194304\n");
      assertThat(server.waitFor()).isZero();
      assertThat(socket).as("the manager's, for the next time").exists();
    } finally {
      server.destroyForcibly();
    }
  }

  @Test
  void tcpSocketOfAServiceManagerIsServed() throws Exception {
    Path port = folder.resolve("port");
    Process server = activated("tcp", 1, port, image);
    try {
      awaitFile(port, server);
      while (Files.size(port) == 0) {
        Thread.onSpinWait();
      }
      String name = "nbd://127.0.0.1:" + Files.readString(port);
      assertThat(Tool.run("nbdinfo", "--size", name).ok().out()).isEqualTo("4194304\n");
      assertThat(server.waitFor()).isZero();
    } finally {
      server.destroyForcibly();
    }
  }

  private static void awaitFile(Path file, Process process) {
    while (!Files.exists(file)) {
      assertThat(process.isAlive()).isTrue();
      Thread.onSpinWait();
    }
  }

  @Test
  void whatCannotBeTakenOverIsSaid() throws Exception {
    assertThat(failure(activated("listening", 2, socket, image)))
        .isEqualTo("imago: The service manager has opened 2 sockets; exactly one is expected\n");
    assertThat(failure(activated("file", 1, folder.resolve("file"), image)))
        .isEqualTo("imago: What the service manager has opened is no listening socket\n");
    assertThat(failure(activated("connected", 1, folder.resolve("none"), image)))
        .isEqualTo("imago: What the service manager has opened is no listening socket\n");
    Files.delete(socket);
    assertThat(failure(activated("listening", 1, socket, "-k", folder.resolve("s"), image)))
        .isEqualTo(
            "imago: The socket comes from the service manager: -k, -b and -p are not allowed\n");
    Files.delete(socket);
    assertThat(failure(activated("listening", 1, socket, "--fork", image)))
        .isEqualTo("imago: The socket comes from the service manager: --fork is not allowed\n");
  }

  private static String failure(Process server) throws Exception {
    try (var err = server.getErrorStream()) {
      String words = new String(err.readAllBytes());
      assertThat(server.waitFor()).as(words).isEqualTo(1);
      return words;
    } finally {
      server.destroyForcibly();
    }
  }

  @Test
  void inTheBackgroundItWritesItsNumberAndEndsWhenToldTo() throws Exception {
    Path pidFile = folder.resolve("pid");
    Tool.Outcome started =
        Tool.run(
            IMAGO,
            "serve",
            "-t",
            "--fork",
            "--pid-file",
            pidFile,
            "-k",
            socket,
            "-f",
            "qcow2",
            image);
    assertThat(started.ok().out() + started.err()).isEmpty();
    ProcessHandle server =
        ProcessHandle.of(Long.parseLong(Files.readString(pidFile).strip())).orElseThrow();
    try {
      assertThat(Tool.run("nbdinfo", "--size", OurServer.uri(socket, "")).ok().out())
          .isEqualTo("4194304\n");
      server.destroy(); // SIGTERM
      server.onExit().get(60, TimeUnit.SECONDS);
      assertThat(pidFile).doesNotExist();
      assertThat(socket).doesNotExist();
    } finally {
      server.destroyForcibly();
    }
  }

  @Test
  void whatKeepsItFromStartingInTheBackgroundIsSaidByTheCommand() throws Exception {
    Tool.Outcome started = Tool.run(IMAGO, "serve", "--fork", "-k", socket, folder.resolve("no"));
    assertThat(started.status()).isEqualTo(1);
    assertThat(started.err()).contains("No such file or directory");
    assertThat(socket).doesNotExist();
  }
}
