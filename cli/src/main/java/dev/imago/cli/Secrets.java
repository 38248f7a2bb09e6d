package dev.imago.cli;

import dev.imago.image.Secret;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What {@code --object} brings: passphrases ({@code secret,id=…}) and TLS credentials ({@code
 * tls-creds-x509,id=…,dir=…}) by name; throttle groups are handed on. All passphrases are wiped at
 * the command's end. Only here are they ever text, where the command line itself has them.
 */
final class Secrets implements AutoCloseable {
  private static final int MAX_FILE = 1 << 20;

  /** Null, the usual thing, costs no class at start-up. */
  private @Nullable Map<String, Secret> secrets;

  private @Nullable Map<String, Credentials> credentials;

  /** Takes one {@code --object}. */
  void add(String object) throws Failure {
    List<OptionList.Pair> pairs = OptionList.pairs(object);
    String first = pairs.isEmpty() ? "" : pairs.getFirst().name();
    boolean named = first.equals("qom-type");
    String type = named ? pairs.getFirst().value() : first;
    if (!named && object.startsWith(first + "=")) {
      throw new Failure("Parameter 'qom-type' is missing");
    }
    if (type.equals("tls-creds-x509")) {
      addCredentials(pairs.subList(1, pairs.size()));
      return;
    }
    if (type.equals("tls-creds-psk")) {
      throw new Failure("'tls-creds-psk' is not supported: Java's TLS knows no pre-shared keys");
    }
    if (type.equals("throttle-group")) {
      ThrottleGroups.add(pairs.subList(1, pairs.size()));
      return;
    }
    if (!type.equals("secret")) {
      throw new Failure("Parameter 'qom-type' does not accept value '" + type + "'");
    }
    Map<String, String> values = new HashMap<>();
    for (OptionList.Pair pair : pairs.subList(1, pairs.size())) {
      switch (pair.name()) {
        case "id", "data", "file", "env", "format" -> values.put(pair.name(), pair.value());
        case "keyid", "iv" ->
            throw new Failure(
                "Parameter '" + pair.name() + "' is not supported here: secrets are not encrypted");
        default -> throw new Failure("Parameter '" + pair.name() + "' is unexpected");
      }
    }
    add(values);
  }

  /**
   * A folder with certificates, as {@code dev.imago.nbd.NbdTls} reads it.
   *
   * @param client whether they are for a client; else for a server
   * @param verifyPeer whether the other end must have a certificate that is trusted
   */
  record Credentials(String folder, boolean client, boolean verifyPeer) {}

  private void addCredentials(List<OptionList.Pair> pairs) throws Failure {
    String id = null;
    String folder = null;
    boolean client = true;
    boolean verifyPeer = true;
    for (OptionList.Pair pair : pairs) {
      String value = pair.value();
      switch (pair.name()) {
        case "id" -> id = value;
        case "dir" -> folder = value;
        case "endpoint" -> {
          if (!value.equals("client") && !value.equals("server")) {
            throw new Failure("Parameter 'endpoint' does not accept value '" + value + "'");
          }
          client = value.equals("client");
        }
        case "verify-peer" -> verifyPeer = OptionList.isOn("verify-peer", value);
        default -> throw new Failure("Parameter '" + pair.name() + "' is unexpected");
      }
    }
    String name = requireNew(id);
    if (folder == null) {
      throw new Failure("Parameter 'dir' is missing");
    }
    if (credentials == null) {
      credentials = new HashMap<>();
    }
    credentials.put(name, new Credentials(folder, client, verifyPeer));
  }

  /** The TLS credentials of that name, or null. */
  @Nullable Credentials credentials(String id) {
    return credentials == null ? null : credentials.get(id);
  }

  private String requireNew(@Nullable String named) throws Failure {
    String id = requireIdentifier(named);
    if ((secrets != null && secrets.containsKey(id))
        || (credentials != null && credentials.containsKey(id))) {
      throw new Failure(
          "attempt to add duplicate property '" + id + "' to object (type 'container')");
    }
    return id;
  }

  private void add(Map<String, String> values) throws Failure {
    String id = requireNew(values.get("id"));
    if (secrets == null) {
      secrets = new HashMap<>();
    }
    byte[] bytes = read(values.get("data"), values.get("file"), values.get("env"));
    byte[] decoded = decode(bytes, values.getOrDefault("format", "raw"));
    secrets.put(id, new Secret(decoded));
    Arrays.fill(decoded, (byte) 0);
    Arrays.fill(bytes, (byte) 0);
  }

  /** Refuses a name that no object may have. */
  static String requireIdentifier(@Nullable String id) throws Failure {
    if (id == null) {
      throw new Failure("Parameter 'id' is missing");
    }
    if (!id.matches("[A-Za-z][A-Za-z0-9._-]*")) {
      throw new Failure(
          "Parameter 'id' expects an identifier\n"
              + "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
    }
    return id;
  }

  private static byte[] read(
      @Nullable String data, @Nullable String file, @Nullable String variable) throws Failure {
    if (data != null && file != null) {
      throw new Failure("'file' and 'data' are mutually exclusive");
    }
    if (variable != null && (data != null || file != null)) {
      throw new Failure("'env' excludes 'file' and 'data'");
    }
    if (data != null) {
      return data.getBytes(StandardCharsets.UTF_8);
    }
    if (variable != null) {
      String value = System.getenv(variable);
      if (value == null) {
        throw new Failure("There is no environment variable '" + variable + "'");
      }
      return value.getBytes(StandardCharsets.UTF_8);
    }
    if (file == null) {
      throw new Failure("Either 'file' or 'data' must be provided");
    }
    try (var in = Files.newInputStream(Path.of(file))) {
      byte[] bytes = in.readNBytes(MAX_FILE + 1);
      if (bytes.length > MAX_FILE) {
        throw new Failure("Unable to read " + file + ": it is longer than a secret may be, 1 MiB");
      }
      return bytes;
    } catch (IOException e) {
      throw new Failure(
          "Unable to read " + file + ": Failed to open file “" + file + "”: " + Errors.text(e),
          1,
          e);
    }
  }

  private static byte[] decode(byte[] bytes, String format) throws Failure {
    return switch (format) {
      case "raw" -> bytes.clone();
      case "base64" -> {
        byte[] text = withoutBlanks(bytes);
        try {
          yield Base64.getDecoder().decode(text);
        } catch (IllegalArgumentException e) {
          // Its message would show a part of the secret.
          throw new Failure("The secret is no valid base64 data");
        } finally {
          Arrays.fill(text, (byte) 0);
        }
      }
      default -> throw new Failure("Parameter 'format' does not accept value '" + format + "'");
    };
  }

  private static byte[] withoutBlanks(byte[] bytes) {
    byte[] kept = new byte[bytes.length];
    int length = 0;
    for (byte b : bytes) {
      if (b < 0 || b > ' ') {
        kept[length++] = b;
      }
    }
    byte[] exact = Arrays.copyOf(kept, length);
    Arrays.fill(kept, (byte) 0);
    return exact;
  }

  /** The secret of that name. */
  Secret require(String id) throws Failure {
    Secret secret = secrets == null ? null : secrets.get(id);
    if (secret == null) {
      throw new Failure("No secret with id '" + id + "'");
    }
    return secret;
  }

  @Override
  public void close() {
    if (secrets != null) {
      new ArrayList<>(secrets.values()).forEach(Secret::close);
      secrets = null;
    }
  }
}
