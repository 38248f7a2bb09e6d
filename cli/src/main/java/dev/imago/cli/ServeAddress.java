package dev.imago.cli;

import dev.imago.nbd.NbdServer;
import dev.imago.nbd.NbdServerOptions;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.net.UnknownHostException;
import java.nio.channels.Channel;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Where {@code serve} listens: a Unix socket, a TCP port, or the socket that a service manager has
 * opened (LISTEN_FDS), which the launcher has put in the standard input's place.
 */
final class ServeAddress {
  private static final int DEFAULT_PORT = 10809;

  private @Nullable String socket;
  private @Nullable String host;
  private int port = -1;

  void socket(String path) throws Failure {
    if (!path.startsWith("/")) {
      path = Path.of(path).toAbsolutePath().toString();
    }
    socket = path;
  }

  void bind(String host) {
    this.host = host;
  }

  void port(String text) throws Failure {
    try {
      port = Integer.parseInt(text);
    } catch (NumberFormatException e) {
      port = -1;
    }
    if (port < 0 || port > 65535) {
      throw new Failure("Invalid port number '" + text + "'");
    }
  }

  NbdServer listen(NbdServerOptions options) throws Failure, IOException {
    if (socket != null && (host != null || port >= 0)) {
      throw new Failure("A Unix socket has neither address nor port");
    }
    ServerSocketChannel inherited = inherited();
    if (inherited == null) {
      return NbdServer.listen(address(), options);
    }
    if (socket != null || host != null || port >= 0) {
      throw new Failure("The socket comes from the service manager: -k, -b and -p are not allowed");
    }
    return NbdServer.listen(inherited, options);
  }

  private SocketAddress address() throws Failure {
    if (socket != null) {
      return UnixDomainSocketAddress.of(socket);
    }
    int number = port < 0 ? DEFAULT_PORT : port;
    try {
      return host == null
          ? new InetSocketAddress(number)
          : new InetSocketAddress(InetAddress.getByName(host), number);
    } catch (UnknownHostException e) {
      throw new Failure("address resolution failed for " + host + ":" + number, 1, e);
    }
  }

  private static @Nullable ServerSocketChannel inherited() throws Failure, IOException {
    String pid = String.valueOf(ProcessHandle.current().pid());
    String count = System.getenv("LISTEN_FDS");
    if (count == null || !pid.equals(System.getenv("LISTEN_PID"))) {
      return null;
    }
    if (!count.equals("1")) {
      throw new Failure(
          "The service manager has opened " + count + " sockets; exactly one is expected");
    }
    Channel channel = System.inheritedChannel();
    if (channel instanceof ServerSocketChannel listening) {
      return listening;
    }
    throw new Failure("What the service manager has opened is no listening socket");
  }
}
