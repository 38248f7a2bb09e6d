package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.cli.Main;
import dev.imago.testing.Certificates;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code convert} from exports, to exports, and from one to another; all stay sparse. */
class NbdConvertTest {
  private static final String SIZE = "64M";

  @TempDir private Path folder;

  private Path disk;

  @BeforeEach
  void make() throws Exception {
    disk = folder.resolve("disk.raw");
    Qemu.img("create", "-q", "-f", "raw", disk, SIZE);
    Tool.run(
            "qemu-io",
            "-f",
            "raw",
            "-c",
            "write -P 1 0 1M",
            "-c",
            "write -P 2 20M 3M",
            "-c",
            "write -P 3 50M 64k",
            disk)
        .ok();
  }

  private static void imago(Object... arguments) {
    String[] words = new String[arguments.length];
    for (int i = 0; i < words.length; i++) {
      words[i] = arguments[i].toString();
    }
    var said = new ByteArrayOutputStream();
    var stream = new PrintStream(said, false, StandardCharsets.UTF_8);
    assertThat(Main.run(words, stream, stream))
        .as("%s", said.toString(StandardCharsets.UTF_8))
        .isZero();
  }

  /** An empty image of the same size. */
  private Path empty(String name, String format) throws Exception {
    Path image = folder.resolve(name);
    Qemu.img("create", "-q", "-f", format, image, SIZE);
    return image;
  }

  private void requireCopy(Path copy, String format) throws Exception {
    Qemu.img("compare", "-f", "raw", "-F", format, disk, copy);
    // Both are zero where the disk is; how its data are cut up is the target's affair.
    assertThat(data(copy, format)).isEqualTo(data(disk, "raw"));
  }

  private static long data(Path image, String format) throws Exception {
    long bytes = 0;
    for (String line : Qemu.img("map", "--output=json", "-f", format, image).lines().toList()) {
      if (line.contains("\"data\": true") && line.contains("\"zero\": false")) {
        bytes += Long.parseLong(line.replaceAll(".*\"length\": ([0-9]+).*", "$1"));
      }
    }
    return bytes;
  }

  @Test
  void fromAnExportToAFile() throws Exception {
    try (Server server = Server.qemuNbd(folder.resolve("s"), disk, "raw", "-r")) {
      imago("convert", "-O", "qcow2", server.name(""), folder.resolve("copy.q"));
      imago("convert", "-f", "raw", "-O", "raw", server.name(""), folder.resolve("copy.raw"));
    }
    requireCopy(folder.resolve("copy.q"), "qcow2");
    requireCopy(folder.resolve("copy.raw"), "raw");
  }

  @Test
  void fromAFileToAnExport() throws Exception {
    for (String format : new String[] {"raw", "qcow2"}) {
      Path target = empty("target." + format, format);
      try (Server server = Server.qemuNbd(folder.resolve("s"), target, format)) {
        imago("convert", "-n", "-f", "raw", "-O", "raw", disk, server.name(""));
      }
      requireCopy(target, format);
    }
  }

  /** What the export held before does not show through. */
  @Test
  void fromAFileToANewImageInAnExport() throws Exception {
    Path target = empty("target.raw", "raw");
    Tool.run("qemu-io", "-f", "raw", "-c", "write -P 9 0 64M", target).ok();
    try (Server server = Server.qemuNbd(folder.resolve("s"), target, "raw")) {
      imago("convert", "-f", "raw", "-O", "qcow2", disk, server.name(""));
    }
    Qemu.img("compare", "-f", "raw", "-F", "qcow2", disk, target);
    Qemu.check(target).clean();
  }

  @Test
  void fromOneServerToAnother() throws Exception {
    Path target = empty("target.q", "qcow2");
    try (Server from = Server.nbdkit(folder.resolve("f"), "-r", "file", disk);
        Server to = Server.qemuNbd(folder.resolve("t"), target, "qcow2")) {
      imago("convert", "-n", "-f", "raw", "-O", "raw", from.name(""), to.name(""));
      imago("compare", "-f", "raw", "-F", "raw", from.name(""), to.name(""));
    }
    requireCopy(target, "qcow2");
  }

  /** A server that can neither zero nor tell what is zero. */
  @Test
  void betweenServersThatCanDoLittle() throws Exception {
    Path target = empty("target.raw", "raw");
    Tool.run("qemu-io", "-f", "raw", "-c", "write -P 9 1M 40M", target).ok();
    try (Server from =
            Server.nbdkit(folder.resolve("f"), "-r", "--filter=noextents", "file", disk);
        Server to =
            Server.nbdkit(
                folder.resolve("t"), "--filter=nozero", "file", target, "zeromode=none")) {
      imago("convert", "-n", "-f", "raw", "-O", "raw", from.name(""), to.name(""));
    }
    Qemu.img("compare", "-f", "raw", "-F", "raw", disk, target);
  }

  @Test
  void underTlsByOptionsAndByName() throws Exception {
    Path certificates = Certificates.make(folder.resolve("c"));
    Path socket = folder.resolve("s");
    String serverSide = "tls-creds-x509,id=t,endpoint=server,dir=" + certificates;
    try (Server _ =
        Server.qemuNbd(
            socket, disk, "raw", "-r", "-x", "x", "--object", serverSide, "--tls-creds", "t")) {
      imago(
          "convert",
          "-O",
          "qcow2",
          "--object",
          "tls-creds-x509,id=t,endpoint=client,dir=" + certificates,
          "--image-opts",
          "driver=nbd,path=" + socket + ",export=x,tls-creds=t,tls-hostname=localhost",
          folder.resolve("copy.q"));
      imago(
          "compare",
          folder.resolve("copy.q"),
          "nbds+unix:///x?socket="
              + socket
              + "&tls-hostname=localhost&tls-certificates="
              + certificates);
    }
    requireCopy(folder.resolve("copy.q"), "qcow2");
  }

  @Test
  void anOverlayOverAnExport() throws Exception {
    Path overlay = folder.resolve("top.q");
    Path copy = folder.resolve("copy.raw");
    try (Server server = Server.qemuNbd(folder.resolve("s"), disk, "raw", "-r")) {
      imago("create", "-q", "-f", "qcow2", "-F", "raw", "-b", server.name(""), overlay);
      Qemu.io(overlay, List.of("write -P 5 10M 64k"));
      imago("convert", "-O", "raw", overlay, copy);
      Qemu.img("compare", "-f", "qcow2", "-F", "raw", overlay, copy);
    }
  }
}
