package dev.imago.nbd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.imago.testing.Certificates;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PemTest {
  @TempDir private Path folder;

  @Test
  void readsRsaKeysInBothForms() throws Exception {
    Certificates.openssl(folder, "genrsa -traditional -out pkcs1.pem 1024");
    Certificates.openssl(folder, "pkcs8 -topk8 -nocrypt -in pkcs1.pem -out pkcs8.pem");

    assertEquals("RSA", Pem.key(folder.resolve("pkcs1.pem")).getAlgorithm());
    assertEquals(Pem.key(folder.resolve("pkcs8.pem")), Pem.key(folder.resolve("pkcs1.pem")));
  }

  @Test
  void readsKeysOnEdwardsCurves() throws Exception {
    Certificates.openssl(folder, "genpkey -algorithm ed25519 -out key.pem");

    assertEquals("EdDSA", Pem.key(folder.resolve("key.pem")).getAlgorithm());
  }

  @Test
  void encryptedKeysAreRefusedWithAdvice() throws Exception {
    Certificates.openssl(folder, "genpkey -algorithm ed25519 -aes128 -pass pass:x -out key.pem");

    assertEquals(
        folder.resolve("key.pem")
            + ": 'ENCRYPTED PRIVATE KEY' is not read here, but PKCS#8 without a passphrase: openssl"
            + " pkcs8 -topk8 -nocrypt",
        message("key.pem"));
  }

  @Test
  void aFileWithoutAKeyIsNamed() throws Exception {
    Files.writeString(folder.resolve("key.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n");

    assertEquals(folder.resolve("key.pem") + ": no private key in it", message("key.pem"));
  }

  @Test
  void damagedKeysAreNamed() throws Exception {
    Files.writeString(
        folder.resolve("key.pem"),
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE" + " KEY-----\n");

    assertEquals(
        folder.resolve("key.pem") + ": the private key is neither RSA, EC nor EdDSA, or is damaged",
        message("key.pem"));
  }

  @Test
  void aFileThatIsNotThereIsNamed() {
    assertEquals(folder.resolve("key.pem") + ": No such file or directory", message("key.pem"));
  }

  @Test
  void aFileWithoutCertificatesIsNamed() throws Exception {
    Path file = Files.writeString(folder.resolve("cert.pem"), "");

    IOException e = assertThrows(IOException.class, () -> Pem.certificates(file));
    assertEquals(file + ": no certificate in it", e.getMessage());
  }

  private String message(String file) {
    return assertThrows(IOException.class, () -> Pem.key(folder.resolve(file))).getMessage();
  }
}
