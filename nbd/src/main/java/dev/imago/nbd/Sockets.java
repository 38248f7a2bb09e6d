package dev.imago.nbd;

import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.net.UnknownHostException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.file.InvalidPathException;
import java.util.ArrayList;
import java.util.List;

/** Connects sockets to servers. */
final class Sockets {
  private Sockets() {}

  /**
   * Connects, to the first of a host's addresses that answers; one that does not leaves the others
   * their share of the time. The channel does not block, so that an interrupt does no harm, and the
   * deadline is set.
   *
   * @param deadline in the terms of {@link System#nanoTime}
   * @throws IOException in QEMU's words, without the export's name
   */
  static PlainTransport connect(NbdAddress address, long deadline) throws IOException {
    IOException first = null;
    try {
      List<SocketAddress> all = sockets(address);
      for (int i = 0; i < all.size(); i++) {
        try {
          long now = System.nanoTime();
          long share = (deadline - now) / (all.size() - i);
          PlainTransport transport = new PlainTransport(connect(all.get(i), now + share));
          transport.deadline(deadline);
          return transport;
        } catch (IOException e) {
          if (first == null) {
            first = e;
          } else {
            first.addSuppressed(e);
          }
        }
      }
    } catch (UnknownHostException e) {
      throw new IOException(
          "address resolution failed for %s: Name or service not known".formatted(address), e);
    }
    throw new IOException(
        "Failed to connect to '%s': %s"
            .formatted(address, first == null ? "no address" : first.getMessage()),
        first);
  }

  private static List<SocketAddress> sockets(NbdAddress address) throws IOException {
    switch (address) {
      case NbdAddress.Unix unix -> {
        try {
          return List.of(UnixDomainSocketAddress.of(unix.path()));
        } catch (InvalidPathException e) {
          throw new IOException("'%s' is no path of a socket".formatted(unix.path()), e);
        }
      }
      case NbdAddress.Tcp tcp -> {
        List<SocketAddress> all = new ArrayList<>();
        for (InetAddress each : InetAddress.getAllByName(tcp.host())) {
          all.add(new InetSocketAddress(each, tcp.port()));
        }
        return all;
      }
    }
  }

  private static SocketChannel connect(SocketAddress address, long deadline) throws IOException {
    boolean tcp = address instanceof InetSocketAddress;
    SocketChannel channel =
        tcp ? SocketChannel.open() : SocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      if (tcp) {
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
        channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
      }
      channel.configureBlocking(false);
      if (!channel.connect(address)) {
        finish(channel, deadline);
      }
      // TCP can meet itself where nobody listens, if the system picks that very port for our end.
      if (tcp && channel.getLocalAddress().equals(channel.getRemoteAddress())) {
        throw new ConnectException("Connection refused");
      }
      return channel;
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  private static void finish(SocketChannel channel, long deadline) throws IOException {
    boolean interrupted = false;
    try (Selector selector = channel.provider().openSelector()) {
      channel.register(selector, SelectionKey.OP_CONNECT);
      while (!channel.finishConnect()) {
        long left = deadline - System.nanoTime();
        if (left <= 0) {
          throw new SocketTimeoutException("Connection timed out");
        }
        selector.select(left / 1_000_000 + 1);
        selector.selectedKeys().clear();
        interrupted |= Thread.interrupted();
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }
}
