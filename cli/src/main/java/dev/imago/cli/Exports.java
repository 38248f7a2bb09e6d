package dev.imago.cli;

import dev.imago.image.Image;
import dev.imago.image.NameResolver;
import dev.imago.nbd.NbdAddress;
import dev.imago.nbd.NbdClient;
import dev.imago.nbd.NbdClientOptions;
import dev.imago.nbd.NbdException;
import dev.imago.nbd.NbdStorage;
import dev.imago.nbd.NbdTls;
import dev.imago.nbd.NbdUri;
import dev.imago.qcow2.Qcow2;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Exports of NBD servers, by their names and as QEMU's block driver {@code nbd} has them. Also
 * opens those that images name as their backing files.
 *
 * <p>Nothing of NBD is loaded before an export is opened.
 */
final class Exports implements NameResolver {
  private final @Nullable Secrets secrets;

  /** Knows the credentials of {@code --object tls-creds-x509}; null where there can be none. */
  Exports(@Nullable Secrets secrets) {
    this.secrets = secrets;
  }

  /** Whether a name is one of an export. The same as {@link NbdUri#isOne}, which is not loaded. */
  static boolean isOne(String name) {
    return switch (FileName.protocol(name)) {
      case "nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+tcp", "nbds+tcp" -> true;
      default -> false;
    };
  }

  /**
   * Refuses a target that a source is read from: exports have no locks that would. One export that
   * goes by two names is not noticed.
   *
   * @param target as the storage calls itself
   */
  static void refuseSource(String target, List<Image> sources) throws Failure {
    for (Image source : sources) {
      for (Image layer = source; layer != null; layer = layer.backing().orElse(null)) {
        if (layer.name().equals(target)
            || Qcow2.dataFile(layer).filter(target::equals).isPresent()) {
          throw new Failure(target + " is both source and target");
        }
      }
    }
  }

  /** Whether a name that was typed or stands in an image is the one of this export. */
  static boolean means(String typed, String name) {
    return isOne(typed) && NbdUri.isOne(typed) && NbdUri.parse(typed).toString().equals(name);
  }

  /** Writes a name as options of the driver, below a format. */
  static void describe(String name, @Nullable String format, Map<String, String> options) {
    if (format != null) {
      options.put("driver", format);
    }
    options.put("file.driver", "nbd");
    options.put("file.uri", name);
  }

  @Override
  public boolean knows(String name) {
    return isOne(name);
  }

  @Override
  public Storage open(String name, boolean writable) throws IOException {
    try {
      return open(parse(name), NbdClientOptions.defaults(), writable);
    } catch (Failure e) {
      throw new IOException(e.getMessage(), e);
    }
  }

  /**
   * Opens what options of the driver describe; takes all of them.
   *
   * @throws Failure in QEMU's words, without {@code Could not open}
   */
  Storage open(BlockOptions options, boolean writable) throws Failure, IOException {
    NbdClientOptions how = NbdClientOptions.defaults();
    String retry = options.take("reconnect-delay");
    if (retry != null) {
      if (!retry.matches("[0-9]{1,9}")) {
        throw new Failure("Parameter 'reconnect-delay' expects a number of seconds");
      }
      how = how.withRetry(Duration.ofSeconds(Long.parseLong(retry)));
    }
    options.take("open-timeout");
    String name = options.take("uri");
    NbdUri uri = name == null ? uri(options) : parse(name);
    String credentials = options.take("tls-creds");
    String hostname = options.take("tls-hostname");
    options.requireAllTaken("protocol", "nbd");
    if (credentials != null) {
      how = how.withTls(tls(credentials));
      uri = new NbdUri(uri.address(), uri.export(), new NbdUri.Tls(null, hostname, true));
    } else if (hostname != null) {
      throw new Failure("Parameter 'tls-hostname' requires 'tls-creds'");
    }
    return open(uri, how, writable);
  }

  private static Storage open(NbdUri uri, NbdClientOptions how, boolean writable)
      throws Failure, IOException {
    try {
      NbdClient client = NbdClient.connect(uri, how);
      if (writable && client.readOnly()) {
        client.close();
        throw new Failure("Could not open image: Permission denied");
      }
      return NbdStorage.of(client, writable);
    } catch (NbdException e) {
      throw new Failure(e.reason(), 1, e);
    }
  }

  private static NbdUri parse(String name) throws Failure {
    try {
      return NbdUri.parse(name);
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e);
    }
  }

  private static NbdUri uri(BlockOptions options) throws Failure {
    String export = options.take("export");
    try {
      return new NbdUri(address(options), export == null ? "" : export, null);
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e);
    }
  }

  private static NbdAddress address(BlockOptions options) throws Failure {
    String path = options.take("path");
    String host = options.take("host");
    String port = options.take("port");
    BlockOptions server = options.takeBelow("server.");
    if (!server.isEmpty()) {
      if (path != null || host != null || port != null) {
        throw new Failure("Cannot use 'server' and path/host/port at the same time");
      }
      return server(server);
    }
    if (path != null) {
      if (host != null || port != null) {
        throw new Failure("path and host may not be used at the same time");
      }
      return new NbdAddress.Unix(path);
    }
    if (host == null) {
      throw new Failure(
          port == null ? "NBD server address missing" : "port may not be used without host");
    }
    return new NbdAddress.Tcp(host, port(port == null ? "10809" : port));
  }

  private static NbdAddress server(BlockOptions server) throws Failure {
    String type = server.take("type");
    NbdAddress address =
        switch (type) {
          case "unix" -> new NbdAddress.Unix(require(server, "path"));
          case "inet" -> new NbdAddress.Tcp(require(server, "host"), port(require(server, "port")));
          case null -> throw new Failure("Parameter 'type' is missing");
          default -> throw new Failure("Parameter 'type' does not accept value '" + type + "'");
        };
    server.requireAllTaken("protocol", "nbd");
    return address;
  }

  private static String require(BlockOptions options, String name) throws Failure {
    String value = options.take(name);
    if (value == null) {
      throw new Failure("Parameter '" + name + "' is missing");
    }
    return value;
  }

  private static int port(String text) throws Failure {
    if (!text.matches("[0-9]{1,5}")) {
      throw new Failure("Parameter 'port' expects a number from 1 to 65535, not '" + text + "'");
    }
    return Integer.parseInt(text);
  }

  private NbdTls tls(String id) throws Failure, IOException {
    Secrets.Credentials found = credentials(secrets, id, true);
    Path folder = folder(found);
    return found.verifyPeer() ? NbdTls.client(folder) : NbdTls.unverifiedClient(folder);
  }

  /** What {@code --object tls-creds-x509} of that name has for a server. */
  static NbdTls serverTls(Secrets secrets, String id) throws Failure, IOException {
    Secrets.Credentials found = credentials(secrets, id, false);
    return NbdTls.server(folder(found), found.verifyPeer());
  }

  private static Secrets.Credentials credentials(
      @Nullable Secrets secrets, String id, boolean client) throws Failure {
    Secrets.Credentials found = secrets == null ? null : secrets.credentials(id);
    if (found == null) {
      throw new Failure("No TLS credentials with id '" + id + "'");
    }
    if (found.client() != client) {
      throw new Failure(
          "Expecting TLS credentials with a %s endpoint".formatted(client ? "client" : "server"));
    }
    return found;
  }

  private static Path folder(Secrets.Credentials credentials) throws Failure {
    try {
      return Path.of(credentials.folder());
    } catch (InvalidPathException e) {
      throw new Failure("'" + credentials.folder() + "' is no folder", 1, e);
    }
  }
}
