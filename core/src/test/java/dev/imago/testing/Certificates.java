package dev.imago.testing;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A folder with certificates as QEMU and nbdkit want them, made by OpenSSL: an authority, a server
 * called {@code localhost}, and a client.
 */
public final class Certificates {
  private Certificates() {}

  /** Makes all of them in an empty folder. */
  public static Path make(Path folder) throws IOException, InterruptedException {
    Files.createDirectories(folder);
    openssl(
        folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca"
            + " -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
            + " -keyout ca-key.pem -out ca-cert.pem");
    sign(folder, "server", "subjectAltName=DNS:localhost,IP:127.0.0.1");
    sign(folder, "client", "subjectAltName=DNS:client");
    return folder;
  }

  private static void sign(Path folder, String who, String name)
      throws IOException, InterruptedException {
    Path extensions = folder.resolve(who + ".ext");
    Files.writeString(
        extensions,
        name + "\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\n");
    openssl(
        folder,
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=%1$s -keyout"
            + " %1$s-key.pem -out %1$s.csr",
        who);
    openssl(
        folder,
        "x509 -req -in %1$s.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile"
            + " %1$s.ext -out %1$s-cert.pem",
        who);
  }

  /** Runs one of OpenSSL's commands in a folder. */
  public static void openssl(Path folder, String command, Object... arguments)
      throws IOException, InterruptedException {
    Tool.run("sh", "-c", "cd '" + folder + "' && openssl " + command.formatted(arguments)).ok();
  }
}
