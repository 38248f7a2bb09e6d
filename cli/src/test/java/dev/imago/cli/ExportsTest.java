package dev.imago.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.nbd.NbdExport;
import dev.imago.nbd.NbdServer;
import dev.imago.nbd.NbdServerOptions;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.UnixDomainSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Commands that write to an export, in one process with its server. */
class ExportsTest {
  @TempDir Path folder;

  private final ByteArrayOutputStream err = new ByteArrayOutputStream();
  private Image exported;
  private NbdServer server;

  /** An export of 4 MiB with a qcow2 image in it, and an overlay of it in a file. */
  @BeforeEach
  void serve() throws IOException {
    run("create -q -f raw @export 4M");
    run("create -q -f qcow2 @x.q 1M");
    exported =
        Images.open(
            folder.resolve("export"),
            OpenOptions.of(References.deny()).format("raw").writable(true));
    Path socket = folder.resolve("s");
    server =
        NbdServer.listen(
            UnixDomainSocketAddress.of(socket),
            NbdServerOptions.of(NbdExport.of("disk", exported)).connections(8));
    assertThat(run("convert -O qcow2 @x.q %W")).isZero();
    assertThat(run("create -q -f qcow2 -b %W -F qcow2 @ov.q")).isZero();
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
  }

  @AfterEach
  void stop() throws IOException {
    server.close();
    exported.close();
  }

  private int run(String line) {
    String meant =
        line.replace("%W", "nbd+unix:///disk?socket=" + folder.resolve("s"))
            .replace("@", folder + "/");
    var out = new PrintStream(OutputStream.nullOutputStream());
    var errors = new PrintStream(err, true, StandardCharsets.UTF_8);
    return Main.run(meant.split(" "), out, errors);
  }

  private void refused(String line, String why) throws IOException {
    byte[] before = Files.readAllBytes(folder.resolve("export"));

    assertThat(run(line)).isEqualTo(1);

    assertThat(err.toString(StandardCharsets.UTF_8)).contains(why);
    assertThat(Files.readAllBytes(folder.resolve("export"))).isEqualTo(before);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "convert -O qcow2 -o cluster_size=128k %W %W",
        "convert -O raw %W %W",
        "convert -n -O raw %W %W",
        "convert -O raw @ov.q %W",
        "convert -O raw @x.q %W %W",
        "dd if=%W of=%W",
        "dd -O qcow2 if=@ov.q of=%W"
      })
  void anExportIsNotConvertedToItself(String line) throws IOException {
    refused(line, "is both source and target");
  }

  @Test
  void anExportIsNotItsOwnBackingFile() throws IOException {
    refused(
        "convert -O qcow2 -B %W -F qcow2 @x.q %W", "with the same filename as the backing file");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "create -f qcow2 -o preallocation=metadata %W 8M",
        "convert -O qcow2 -B @missing -F raw @x.q %W",
        "convert --bitmaps -o compat=0.10 -O qcow2 @x.q %W"
      })
  void anExportKeepsItsImageIfTheNewOneIsRefused(String line) throws IOException {
    refused(line, "");
  }

  @Test
  void anImageInAnExportMayStandOnAFile() {
    assertThat(run("create -q -f qcow2 -b @x.q -F qcow2 %W")).isZero();
    assertThat(run("create -q -f qcow2 -u -b @missing -F raw %W 1M")).isZero();
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
  }
}
