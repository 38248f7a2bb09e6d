package dev.imago.nbd;

/** Where an NBD server listens. */
public sealed interface NbdAddress {

  /**
   * A TCP port.
   *
   * @param host name or address; an IPv6 address without brackets
   * @param port 1 to 65535
   */
  record Tcp(String host, int port) implements NbdAddress {
    /** Checks the port. */
    public Tcp {
      if (host.isEmpty() || port < 1 || port > 65535) {
        throw new IllegalArgumentException("no such address: '%s', port %d".formatted(host, port));
      }
    }

    @Override
    public String toString() {
      return (host.indexOf(':') < 0 ? host : "[" + host + "]") + ":" + port;
    }
  }

  /**
   * A Unix socket.
   *
   * @param path of the socket's file
   */
  record Unix(String path) implements NbdAddress {
    @Override
    public String toString() {
      return path;
    }
  }
}
