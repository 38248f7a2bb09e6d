package dev.imago.nbd;

import dev.imago.nbd.wire.NbdProtocolException;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Makes connections to one server, with the same certificates each time. */
final class Dialler {
  private final NbdUri uri;
  private final @Nullable NbdTls tls;
  private final @Nullable String hostname;

  /** Reads the certificates, if the URI or the options name any. */
  Dialler(NbdUri uri, NbdClientOptions options) throws IOException {
    this.uri = uri;
    NbdUri.Tls wanted = uri.tls();
    if (wanted == null) {
      tls = null;
      hostname = null;
      return;
    }
    tls = tls(wanted, options.tls());
    if (wanted.hostname() != null) {
      hostname = wanted.hostname();
    } else {
      hostname = uri.address() instanceof NbdAddress.Tcp tcp ? tcp.host() : null;
    }
  }

  private static NbdTls tls(NbdUri.Tls wanted, @Nullable NbdTls given) throws IOException {
    if (!wanted.verifyPeer()) {
      return NbdTls.unverifiedClient(wanted.certificates());
    }
    if (wanted.certificates() != null) {
      return NbdTls.client(wanted.certificates());
    }
    return given != null ? given : NbdTls.client();
  }

  /** Makes a connection to the export. */
  ClientHandshake.Ready dial(Duration patience) throws IOException {
    PlainTransport socket = connect(patience);
    try {
      ClientHandshake.Ready ready = ClientHandshake.use(socket, uri.export(), tls, hostname);
      socket.deadline(Long.MAX_VALUE);
      return ready;
    } catch (IOException | RuntimeException e) {
      socket.close();
      throw e;
    }
  }

  /** Asks what the server has. */
  List<NbdExportInfo> list(Duration patience) throws IOException {
    try (PlainTransport socket = connect(patience)) {
      return ClientHandshake.list(socket, tls, hostname);
    }
  }

  private PlainTransport connect(Duration patience) throws IOException {
    return Sockets.connect(uri.address(), System.nanoTime() + patience.toNanos());
  }

  /** What a failure is to the caller. */
  static NbdException failure(String name, IOException e) {
    if (e instanceof NbdException known) {
      return known;
    }
    String reason = e.getMessage() == null ? e.toString() : e.getMessage();
    return new NbdException(
        name, e instanceof NbdProtocolException ? "protocol error: " + reason : reason, e);
  }
}
