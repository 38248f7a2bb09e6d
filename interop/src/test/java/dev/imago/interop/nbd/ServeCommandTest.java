package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code imago serve} as a program among others: what it leaves behind, and how it ends. */
class ServeCommandTest {
  @TempDir private Path folder;
  private Path image;
  private Path socket;

  @BeforeEach
  void makeAnImage() throws Exception {
    image = folder.resolve("disk.qcow2");
    socket = folder.resolve("socket");
    Qemu.img("create", "-q", "-f", "qcow2", image, "4M");
  }

  private String size(String export) throws Exception {
    return Tool.run("nbdinfo", "--size", OurServer.uri(socket, export)).ok().out().strip();
  }

  @Test
  void endsWhenItsOnlyClientHasGoneAndTakesItsFilesAway() throws Exception {
    Path pid = folder.resolve("pid");
    try (OurServer server = OurServer.start("-k", socket, "--pid-file", pid, image)) {
      assertThat(server.ready()).isTrue();
      assertThat(Files.readString(pid)).matches("\\d+\n");
      assertThat(size("")).isEqualTo("4194304");
      assertThat(server.status()).isZero();
      assertThat(socket).doesNotExist();
      assertThat(pid).doesNotExist();
      assertThat(server.words()).isEqualTo("[]");
    }
  }

  @Test
  void severalImagesHaveTheNamesOfTheirFilesOrThoseGiven() throws Exception {
    Path other = folder.resolve("other.raw");
    Files.write(other, new byte[1 << 20]);
    try (OurServer server =
        OurServer.start("-r", "-t", "-k", socket, "-x", "first", "-D", "one", image, other)) {
      assertThat(server.ready()).isTrue();
      assertThat(size("first")).isEqualTo("4194304");
      assertThat(size("other.raw")).isEqualTo("1048576");
      assertThat(Tool.run("nbdinfo", "--list", OurServer.uri(socket, "")).ok().out())
          .contains("export=\"first\":", "description: one", "export=\"other.raw\":");
      server.terminate();
      assertThat(server.status()).isZero();
    }
  }

  @Test
  void internalSnapshotIsServedAsItWas() throws Exception {
    Qemu.io(image, List.of("write -P 1 0 64k"));
    Qemu.img("snapshot", "-c", "before", image);
    Qemu.io(image, List.of("write -P 2 0 64k"));
    try (OurServer server = OurServer.start("-k", socket, "-l", "before", image)) {
      assertThat(server.ready()).isTrue();
      String out =
          Tool.run("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 64k", uri()).ok().out();
      assertThat(out).doesNotContain("failed");
      assertThat(server.status()).isZero();
    }
  }

  private String uri() {
    return OurServer.uri(socket, "");
  }

  @Test
  void whatCannotBeServedIsSaid() throws Exception {
    assertThat(failure("-k", socket, folder.resolve("none"))).contains("No such file or directory");
    assertThat(failure("-k", socket, "-B", "nope", image)).contains("Bitmap 'nope' is not found");
    assertThat(failure("-k", socket, "-p", "1", image))
        .contains("A Unix socket has neither address nor port");
    assertThat(failure("-k", socket, "-P", "1", image)).contains("There is no partition table");
    assertThat(socket).doesNotExist();
  }

  private static String failure(Object... arguments) throws Exception {
    try (OurServer server = OurServer.start(arguments)) {
      assertThat(server.ready()).isFalse();
      assertThat(server.status()).isEqualTo(1);
      return server.words();
    }
  }

  @Test
  void serviceManagerIsToldWhenClientsCanConnectAndWhenTheEndHasBegun() throws Exception {
    Path told = folder.resolve("told");
    Path script = folder.resolve("listen.py");
    Files.writeString(
        script,
        """
        import socket, sys
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(sys.argv[1])
        print("listening", flush=True)
        while True:
            print(s.recv(1000).decode(), flush=True)
        """);
    Process manager =
        new ProcessBuilder("/usr/bin/python3", script.toString(), told.toString()).start();
    try (var out = manager.inputReader()) {
      assertThat(out.readLine()).isEqualTo("listening");
      ProcessBuilder builder =
          new ProcessBuilder(new ArrayList<>(OurServer.commandLine("-k", socket, image)));
      builder.environment().put("NOTIFY_SOCKET", told.toString());
      Process server = builder.start();
      try {
        assertThat(out.readLine()).isEqualTo("READY=1");
        assertThat(out.readLine()).isEqualTo("MAINPID=" + server.pid());
        assertThat(size("")).isEqualTo("4194304");
        assertThat(out.readLine()).isEqualTo("STOPPING=1");
        assertThat(server.waitFor()).isZero();
      } finally {
        server.destroyForcibly();
      }
    } finally {
      manager.destroyForcibly();
    }
  }

  @Test
  void forkIsRefusedWhereTheSocketIsAServiceManagersInsteadOfListeningEverywhere()
      throws Exception {
    List<String> line = new ArrayList<>(List.of("/bin/sh", "-c"));
    line.add("export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"");
    line.add("sh");
    line.addAll(OurServer.commandLine("--fork", image));
    line.remove("-Dimago.waited-for=true");
    Process server = new ProcessBuilder(line).start();
    try (var err = server.errorReader()) {
      assertThat(err.readLine())
          .contains("The socket comes from the service manager: --fork is not allowed");
      assertThat(server.waitFor()).isEqualTo(1);
    } finally {
      server.destroyForcibly();
    }
  }

  @Test
  void partitionIsServedAlone() throws Exception {
    Path disk = folder.resolve("disk.raw");
    byte[] bytes = new byte[1 << 20];
    // A master boot record: one partition of 8 sectors from sector 16 on.
    bytes[446 + 4] = (byte) 0x83;
    bytes[446 + 8] = 16;
    bytes[446 + 12] = 8;
    bytes[510] = 0x55;
    bytes[511] = (byte) 0xaa;
    bytes[16 * 512] = 7;
    Files.write(disk, bytes);
    try (OurServer server =
        OurServer.start("-r", "-f", "raw", "-t", "-k", socket, "-P", "1", disk)) {
      assertThat(server.ready()).isTrue();
      assertThat(size("")).isEqualTo("4096");
      Path copy = folder.resolve("copy");
      Tool.run("nbdcopy", uri(), copy).ok();
      assertThat(Files.readAllBytes(copy)[0]).isEqualTo((byte) 7);
      server.terminate();
      assertThat(server.status()).isZero();
    }
  }
}
