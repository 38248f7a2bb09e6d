package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Other programs as clients: they see what they see of the same image without us, or by qemu-nbd.
 */
class ServingTest {
  @TempDir private Path folder;
  private Path image;
  private Path socket;

  @BeforeEach
  void makeAnOverlay() throws Exception {
    image = folder.resolve("top.qcow2");
    socket = folder.resolve("socket");
    Path base = folder.resolve("base.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", base, "16M");
    Qemu.io(base, List.of("write -P 1 0 1M", "write -P 2 3M 100k", "write -z 8M 1M"));
    Qemu.img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", image);
    Qemu.img("bitmap", "--add", image, "changes");
    Qemu.io(image, List.of("write -P 3 512k 1M", "write -z 4M 128k", "write -P 4 15M 1M"));
  }

  private OurServer serve(Object... more) throws IOException {
    Object[] arguments = new Object[more.length + 5];
    System.arraycopy(new Object[] {"-f", "qcow2", "-t", "-k", socket}, 0, arguments, 0, 5);
    System.arraycopy(more, 0, arguments, 5, more.length);
    OurServer server = OurServer.start(arguments);
    assertThat(server.ready()).as("server is ready").isTrue();
    return server;
  }

  private String uri() {
    return OurServer.uri(socket, "");
  }

  private static String nbdinfo(Object... arguments) throws Exception {
    Object[] command = new Object[arguments.length + 1];
    command[0] = "nbdinfo";
    System.arraycopy(arguments, 0, command, 1, arguments.length);
    return Tool.run(command).ok().out();
  }

  /** What nbdinfo says of the image when somebody else serves it. */
  private String[] byQemu(String[]... questions) throws Exception {
    Path other = folder.resolve("qemu");
    Process qemu =
        new ProcessBuilder(
                "qemu-nbd",
                "-r",
                "-t",
                "-e",
                "8",
                "-A",
                "-B",
                "changes",
                "-f",
                "qcow2",
                "-k",
                other.toString(),
                image.toString())
            .inheritIO()
            .start();
    try {
      String[] answers = new String[questions.length];
      for (int i = 0; i < questions.length; i++) {
        while (!Files.exists(other)) {
          assertThat(qemu.isAlive()).isTrue();
          Thread.onSpinWait();
        }
        Object[] asked = new Object[questions[i].length + 1];
        System.arraycopy(questions[i], 0, asked, 0, questions[i].length);
        asked[questions[i].length] = OurServer.uri(other, "");
        answers[i] = nbdinfo(asked).replace(other.toString(), socket.toString());
      }
      return answers;
    } finally {
      qemu.destroy();
      qemu.waitFor();
    }
  }

  @Test
  void nbdinfoSaysTheSameOfOurServerAndOfQemus() throws Exception {
    String[][] questions = {
      {"--map"},
      {"--map=qemu:allocation-depth"},
      {"--map=qemu:dirty-bitmap:changes"},
      {"--json"},
      {"--list"},
      {"--size"}
    };
    String[] expected = byQemu(questions);
    try (OurServer server = serve("-r", "-e", "8", "-A", "-B", "changes", image)) {
      for (int i = 0; i < questions.length; i++) {
        Object[] asked = {questions[i][0], uri()};
        assertThat(nbdinfo(asked)).as(questions[i][0]).isEqualTo(expected[i]);
      }
      server.terminate();
      assertThat(server.status()).isZero();
    }
  }

  @Test
  void nbdcopyGetsTheDiskAndPutsAnother() throws Exception {
    Path copy = folder.resolve("copy.raw");
    try (OurServer server = serve("-e", "8", image)) {
      Tool.run("nbdcopy", uri(), copy).ok();
      Qemu.img("compare", "-U", "-f", "qcow2", "-F", "raw", image, copy);
      byte[] other = new byte[16 << 20];
      new Random(5).nextBytes(other);
      for (int i = 4 << 20; i < 12 << 20; i++) {
        other[i] = 0;
      }
      Files.write(copy, other);
      Tool.run("nbdcopy", "--flush", copy, uri()).ok();
      server.terminate();
      assertThat(server.status()).isZero();
    }
    Qemu.check(image).withoutErrors();
    Qemu.img("compare", "-f", "qcow2", "-F", "raw", image, copy);
  }

  @Test
  void qemuImgReadsComparesAndConverts() throws Exception {
    Path copy = folder.resolve("copy.qcow2");
    try (OurServer server = serve("-r", "-e", "8", image)) {
      assertThat(Qemu.img("info", "-f", "raw", uri())).contains("virtual size: 16 MiB");
      Qemu.img("compare", "-U", "-F", "raw", "-f", "qcow2", image, uri());
      Qemu.img("convert", "-f", "raw", "-O", "qcow2", uri(), copy);
      assertThat(Qemu.img("map", "-f", "raw", "--output=json", uri()))
          .contains("\"start\": 0, \"length\": 1572864", "\"zero\": true, \"data\": false");
      assertThat(server.ready()).isTrue();
    }
    Qemu.img("compare", "-f", "qcow2", "-F", "qcow2", image, copy);
    Qemu.check(copy).clean();
  }

  @Test
  void qemuIoWritesZeroesAndDiscards() throws Exception {
    try (OurServer server = serve(image)) {
      String out =
          Tool.run(
                  "qemu-io",
                  "-f",
                  "raw",
                  "-d",
                  "unmap",
                  "-c",
                  "write -P 7 1234567 3M",
                  "-c",
                  "write -f -P 8 0 512",
                  "-c",
                  "write -z -u 2M 64k",
                  "-c",
                  "discard 15M 1M",
                  "-c",
                  "flush",
                  "-c",
                  "read -P 7 1234567 800k",
                  "-c",
                  "read -P 8 0 512",
                  "-c",
                  "read -P 0 2M 64k",
                  uri())
              .ok()
              .out();
      assertThat(out).doesNotContain("rror", "failed");
      server.terminate();
      assertThat(server.status()).isZero();
      assertThat(server.words()).isEqualTo("[]");
    }
    Qemu.check(image).withoutErrors();
    Qemu.io(image, List.of("read -P 7 1234567 800k", "read -P 8 0 512", "read -P 0 2M 64k"));
  }

  @Test
  void nbdshTriesEveryCommandAndFlag() throws Exception {
    try (OurServer server = serve("-e", "8", "-A", "-B", "changes", image)) {
      Path script = Path.of(System.getProperty("imago.root"), "interop/src/test/nbdsh/commands.py");
      // What nbdsh runs, with the system's Python: another one on the PATH lacks the module.
      Tool.Outcome outcome =
          Tool.run(
              "/usr/bin/python3",
              "-m",
              "nbd",
              "--base-allocation",
              "-u",
              uri(),
              "-c",
              Files.readString(script));
      assertThat(outcome.ok().out()).isEqualTo("all done\n");
      server.terminate();
      assertThat(server.status()).isZero();
    }
    Qemu.check(image).withoutErrors();
  }
}
