package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.cli.Main;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code serve --list} against {@code qemu-nbd --list}. */
class ListTest {
  @TempDir private Path folder;

  @Test
  void listsAsQemuNbdDoes() throws Exception {
    Path image = folder.resolve("d.q");
    Path socket = folder.resolve("s");
    Qemu.img("create", "-q", "-f", "qcow2", image, "1M");
    Qemu.img("bitmap", "--add", image, "b0");
    try (Server server =
        Server.qemuNbd(socket, image, "qcow2", "-x", "a b", "-D", "text", "-A", "-B", "b0")) {
      same(server, socket);
    }
    try (Server server = Server.nbdkit(socket, "-r", "memory", "1M")) {
      same(server, socket);
    }
  }

  private static void same(Server server, Path socket) throws Exception {
    var out = new ByteArrayOutputStream();
    var stream = new PrintStream(out, false, StandardCharsets.UTF_8);
    int exit = Main.run(new String[] {"serve", "--list", server.name("")}, stream, stream);

    assertThat(out.toString(StandardCharsets.UTF_8))
        .isEqualTo(Tool.run("qemu-nbd", "--list", "-k", socket).ok().out());
    assertThat(exit).isZero();
  }
}
