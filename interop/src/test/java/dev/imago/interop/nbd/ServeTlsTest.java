package dev.imago.interop.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.Certificates;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code imago serve} under TLS, with the clients of others: libnbd (GnuTLS) and QEMU. */
class ServeTlsTest {
  @TempDir private Path folder;
  private Path certificates;
  private Path image;
  private Path socket;

  @BeforeEach
  void make() throws Exception {
    certificates = Certificates.make(folder.resolve("pki"));
    image = folder.resolve("disk.qcow2");
    socket = folder.resolve("socket");
    Qemu.img("create", "-q", "-f", "qcow2", image, "4M");
    Qemu.io(image, List.of("write -P 1 1M 1M"));
  }

  private OurServer serve(Object... more) throws Exception {
    Object[] arguments = new Object[more.length + 8];
    Object[] common = {"-f", "qcow2", "-t", "-e", "4", "-k", socket, image};
    System.arraycopy(more, 0, arguments, 0, more.length);
    System.arraycopy(common, 0, arguments, more.length, common.length);
    OurServer server = OurServer.start(arguments);
    assertThat(server.ready()).as("server is ready").isTrue();
    return server;
  }

  private static void end(OurServer server) throws Exception {
    server.terminate();
    assertThat(server.status()).isZero();
    assertThat(server.words()).isEqualTo("[]");
  }

  /** A name for libnbd. */
  private String secure(Path clientCertificates) {
    return "nbds+unix:///?socket=" + socket + "&tls-certificates=" + clientCertificates;
  }

  private static Tool.Outcome nbdinfo(Object... arguments) throws Exception {
    Object[] command = new Object[arguments.length + 1];
    command[0] = "nbdinfo";
    System.arraycopy(arguments, 0, command, 1, arguments.length);
    return Tool.run(command);
  }

  private Tool.Outcome qemuImg(Path clientCertificates, String hostname) throws Exception {
    return Tool.run(
        "qemu-img",
        "compare",
        "-U",
        "--object",
        "tls-creds-x509,id=t,endpoint=client,dir=" + clientCertificates,
        "--image-opts",
        "driver=qcow2,file.driver=file,file.filename=" + image,
        "driver=raw,file.driver=nbd,file.path=%s,file.tls-creds=t,file.tls-hostname=%s"
            .formatted(socket, hostname));
  }

  /** A folder like another one, without the files whose names begin so. */
  private Path without(String prefix, Path from, String name) throws Exception {
    Path to = Files.createDirectories(folder.resolve(name));
    try (var files = Files.list(from)) {
      for (Path file : files.toList()) {
        if (!file.getFileName().toString().startsWith(prefix)) {
          Files.copy(file, to.resolve(file.getFileName()), StandardCopyOption.REPLACE_EXISTING);
        }
      }
    }
    return to;
  }

  @Test
  void libnbdAndQemuGetTheDiskOverTls() throws Exception {
    Path copy = folder.resolve("copy.raw");
    try (OurServer server = serve("--tls-certs=" + certificates)) {
      assertThat(nbdinfo("--size", secure(certificates)).ok().out()).isEqualTo("4194304\n");
      assertThat(nbdinfo(secure(certificates)).ok().out()).contains("with TLS");
      Tool.run("nbdcopy", secure(certificates), copy).ok();
      Qemu.img("compare", "-U", "-f", "qcow2", "-F", "raw", image, copy);
      qemuImg(certificates, "localhost").ok();
      end(server);
    }
  }

  @Test
  void nbdcopyWritesOverTls() throws Exception {
    Path copy = folder.resolve("copy.raw");
    byte[] bytes = new byte[4 << 20];
    new Random(7).nextBytes(bytes);
    Files.write(copy, bytes);
    try (OurServer server = serve("--tls-certs=" + certificates, "--tls-verify-peer")) {
      Tool.run("nbdcopy", "--flush", copy, secure(certificates)).ok();
      end(server);
    }
    Qemu.check(image).clean();
    Qemu.img("compare", "-f", "qcow2", "-F", "raw", image, copy);
  }

  @Test
  void credentialsOfQemusKindAskForCertificatesUnlessTheySayOtherwise() throws Exception {
    Path anybody = without("client", certificates, "anybody");
    String object = "tls-creds-x509,id=t,endpoint=server,dir=" + certificates;
    try (OurServer server = serve("--object", object, "--tls-creds=t")) {
      nbdinfo(secure(certificates)).ok();
      qemuImg(certificates, "localhost").ok();
      assertThat(nbdinfo(secure(anybody)).status()).isNotZero();
      end(server);
    }
    try (OurServer server = serve("--object", object + ",verify-peer=off", "--tls-creds=t")) {
      nbdinfo(secure(anybody)).ok();
      end(server);
    }
  }

  @Test
  void clientWithoutACertificateOrWithAStrangersIsRefused() throws Exception {
    Path nobody = without("client", certificates, "nobody");
    Path strangers = Certificates.make(folder.resolve("strangers"));
    Path wrong = without("ca-", strangers, "wrong");
    Files.copy(certificates.resolve("ca-cert.pem"), wrong.resolve("ca-cert.pem"));
    try (OurServer server = serve("--tls-certs=" + certificates, "--tls-verify-peer")) {
      assertThat(nbdinfo(secure(nobody)).status()).isNotZero();
      assertThat(nbdinfo("--list", secure(wrong)).status()).isNotZero();
      assertThat(qemuImg(nobody, "localhost").status()).isNotZero();
      assertThat(qemuImg(wrong, "localhost").status()).isNotZero();
      nbdinfo(secure(certificates)).ok();
      end(server);
    }
  }

  @Test
  void clientDoesNotTakeUsForSomebodyElse() throws Exception {
    Path strangers = Certificates.make(folder.resolve("strangers"));
    try (OurServer server = serve("--tls-certs=" + certificates)) {
      assertThat(qemuImg(strangers, "localhost").status()).isNotZero();
      assertThat(qemuImg(certificates, "example.org").err()).contains("example.org");
      end(server);
    }
  }

  @Test
  void clientInClearIsToldThatTlsIsRequiredEvenForTheList() throws Exception {
    try (OurServer server = serve("--tls-certs=" + certificates)) {
      String clear = OurServer.uri(socket, "");
      Tool.Outcome one = nbdinfo(clear);
      Tool.Outcome list = nbdinfo("--list", clear);
      Tool.Outcome qemu = Tool.run("qemu-nbd", "--list", "-k", socket);
      assertThat(one.status()).isNotZero();
      assertThat(list.status()).isNotZero();
      assertThat(list.out()).doesNotContain("export=");
      assertThat(qemu.status()).isNotZero();
      assertThat(qemu.err()).contains("STARTTLS");
      end(server);
    }
  }

  @Test
  void overTcpLibnbdTooSeesWhoWeAre() throws Exception {
    Path strangers = Certificates.make(folder.resolve("strangers"));
    int port;
    try (ServerSocket free = new ServerSocket(0)) {
      port = free.getLocalPort();
    }
    try (OurServer server =
        OurServer.start(
            "-r", "-t", "-b", "127.0.0.1", "-p", port, "--tls-certs=" + certificates, image)) {
      assertThat(server.ready()).isTrue();
      String good = "nbds://localhost:%d/?tls-certificates=%s".formatted(port, certificates);
      assertThat(nbdinfo("--size", good).ok().out()).isEqualTo("4194304\n");
      // libnbd looks at a server's certificate over TCP only.
      String bad = "nbds://localhost:%d/?tls-certificates=%s".formatted(port, strangers);
      assertThat(nbdinfo("--size", bad).status()).isNotZero();
      server.terminate();
      assertThat(server.status()).isZero();
    }
  }

  @Test
  void whatIsMissingIsNamed() throws Exception {
    Path noKey = without("server-key", certificates, "nokey");
    Path noAuthority = without("ca-cert", certificates, "noca");
    String client = "tls-creds-x509,id=c,endpoint=client,dir=" + certificates;
    assertThat(failure("--tls-certs=" + noKey)).contains("nokey/server-key.pem");
    assertThat(failure("--tls-certs=" + noAuthority, "--tls-verify-peer"))
        .contains("noca/ca-cert.pem");
    assertThat(failure("--tls-verify-peer")).contains("--tls-verify-peer needs --tls-certs");
    assertThat(failure("--tls-creds=none")).contains("No TLS credentials with id 'none'");
    assertThat(failure("--object", client, "--tls-creds=c"))
        .contains("Expecting TLS credentials with a server endpoint");
    assertThat(failure("--tls-certs=" + certificates, "--tls-creds=c"))
        .contains("--tls-certs and --tls-creds are mutually exclusive");
    assertThat(socket).doesNotExist();
  }

  private String failure(Object... arguments) throws Exception {
    Object[] all = new Object[arguments.length + 3];
    System.arraycopy(arguments, 0, all, 0, arguments.length);
    System.arraycopy(new Object[] {"-k", socket, image}, 0, all, arguments.length, 3);
    try (OurServer server = OurServer.start(all)) {
      assertThat(server.ready()).isFalse();
      assertThat(server.status()).isEqualTo(1);
      return server.words();
    }
  }
}
