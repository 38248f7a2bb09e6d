package dev.imago.nbd;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads certificates and private keys in the text form (PEM) that OpenSSL and GnuTLS write. */
final class Pem {
  /** A longer file is none of ours. */
  private static final int MAX_BYTES = 1 << 20;

  private static final Pattern BLOCK =
      Pattern.compile("-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \\1-----");

  /** The DER that stands before a PKCS#1 key's length in PKCS#8: version 0, rsaEncryption. */
  private static final byte[] RSA = {
    2, 1, 0, 0x30, 13, 6, 9, 0x2a, (byte) 0x86, 0x48, (byte) 0x86, (byte) 0xf7, 13, 1, 1, 1, 5, 0
  };

  private Pem() {}

  /**
   * All certificates of a file, in their order.
   *
   * @throws IOException if there is none, or one that is damaged; the message names the file
   */
  static List<X509Certificate> certificates(Path file) throws IOException {
    try {
      List<X509Certificate> found =
          CertificateFactory.getInstance("X.509")
              .generateCertificates(new ByteArrayInputStream(bytes(file)))
              .stream()
              .map(X509Certificate.class::cast)
              .toList();
      if (found.isEmpty()) {
        throw new IOException(file + ": no certificate in it");
      }
      return found;
    } catch (CertificateException e) {
      throw new IOException(file + ": a certificate is damaged: " + e.getMessage(), e);
    }
  }

  /**
   * The private key of a file, which must not be encrypted: PKCS#8, or PKCS#1 for RSA.
   *
   * @throws IOException if there is none of these; the message names the file
   */
  static PrivateKey key(Path file) throws IOException {
    Matcher block = BLOCK.matcher(new String(bytes(file), StandardCharsets.ISO_8859_1));
    while (block.find()) {
      switch (block.group(1)) {
        case "PRIVATE KEY" -> {
          return decode(file, der(file, block.group(2)));
        }
        case "RSA PRIVATE KEY" -> {
          if (block.group(2).contains(":")) {
            throw notReadable(file, "an encrypted RSA key");
          }
          byte[] key = der(file, block.group(2));
          return decode(file, sequence(RSA, tagged((byte) 4, key)));
        }
        case "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "DSA PRIVATE KEY" ->
            throw notReadable(file, "'" + block.group(1) + "'");
        default -> {
          // Parameters, certificates: what else may stand in such a file.
        }
      }
    }
    throw new IOException(file + ": no private key in it");
  }

  private static IOException notReadable(Path file, String what) {
    return new IOException(
        "%s: %s is not read here, but PKCS#8 without a passphrase: openssl pkcs8 -topk8 -nocrypt"
            .formatted(file, what));
  }

  private static PrivateKey decode(Path file, byte[] pkcs8) throws IOException {
    for (String algorithm : List.of("RSA", "EC", "EdDSA", "RSASSA-PSS")) {
      try {
        return KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
      } catch (InvalidKeySpecException e) {
        // A key of another algorithm.
      } catch (GeneralSecurityException e) {
        throw new IOException(file + ": " + e.getMessage(), e);
      }
    }
    throw new IOException(file + ": the private key is neither RSA, EC nor EdDSA, or is damaged");
  }

  private static byte[] der(Path file, String base64) throws IOException {
    try {
      return Base64.getMimeDecoder().decode(base64);
    } catch (IllegalArgumentException e) {
      throw new IOException(file + ": the private key is no base64", e);
    }
  }

  private static byte[] bytes(Path file) throws IOException {
    try (var in = Files.newInputStream(file)) {
      byte[] bytes = in.readNBytes(MAX_BYTES + 1);
      if (bytes.length > MAX_BYTES) {
        throw new IOException(file + ": longer than 1 MiB");
      }
      return bytes;
    } catch (FileSystemException e) {
      // Its own message is the name alone, or a text without the name.
      String why =
          switch (e) {
            case NoSuchFileException _ -> "No such file or directory";
            case AccessDeniedException _ -> "Permission denied";
            default -> String.valueOf(e.getReason());
          };
      throw new IOException(file + ": " + why, e);
    }
  }

  private static byte[] sequence(byte[] first, byte[] second) {
    byte[] both = new byte[first.length + second.length];
    System.arraycopy(first, 0, both, 0, first.length);
    System.arraycopy(second, 0, both, first.length, second.length);
    return tagged((byte) 0x30, both);
  }

  /** A DER value with its tag and length; shorter than 2^24 bytes. */
  private static byte[] tagged(byte tag, byte[] value) {
    int length = value.length;
    int lengthBytes = length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x1_0000 ? 2 : 3;
    ByteBuffer tagged = ByteBuffer.allocate(2 + lengthBytes + length).put(tag);
    tagged.put((byte) (lengthBytes == 0 ? length : 0x80 | lengthBytes));
    for (int i = lengthBytes - 1; i >= 0; i--) {
      tagged.put((byte) (length >> 8 * i));
    }
    return tagged.put(value).array();
  }
}
