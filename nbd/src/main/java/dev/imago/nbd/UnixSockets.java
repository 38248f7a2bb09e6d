package dev.imago.nbd;

import java.io.IOException;
import java.net.ConnectException;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;

/** The files of Unix sockets. */
final class UnixSockets {
  private UnixSockets() {}

  /**
   * Takes away a socket file that a server left behind that was killed. Whatever else is there, and
   * a socket that somebody listens at, stays.
   */
  static void removeStale(Path file) throws IOException {
    boolean socket =
        Files.exists(file, LinkOption.NOFOLLOW_LINKS)
            && Files.readAttributes(file, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
                .isOther();
    if (!socket) {
      return;
    }
    try {
      SocketChannel.open(UnixDomainSocketAddress.of(file)).close();
    } catch (ConnectException e) {
      Files.deleteIfExists(file);
    }
  }
}
