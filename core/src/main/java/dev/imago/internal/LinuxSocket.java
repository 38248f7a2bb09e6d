package dev.imago.internal;

import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * Datagrams over Unix sockets, which the JDK does not have: how a service manager is told things.
 */
public final class LinuxSocket {
  private static final boolean X86 = "amd64".equals(System.getProperty("os.arch"));
  private static final int SOCKET = X86 ? 41 : 198;
  private static final int SENDTO = X86 ? 44 : 206;
  private static final int CLOSE = X86 ? 3 : 57;
  private static final int AF_UNIX = 1;
  private static final int SOCK_DGRAM_CLOEXEC = 2 | 02000000;

  /** Bytes of a Unix socket's name. */
  private static final int MAX_NAME = 107;

  private LinuxSocket() {}

  /**
   * Sends one datagram.
   *
   * @param name of the socket: a path, or behind {@code @} an abstract name
   * @return false if nobody could be told
   */
  public static boolean send(String name, String message) {
    byte[] path = name.getBytes(StandardCharsets.UTF_8);
    if (!LinuxFile.available() || path.length == 0 || path.length > MAX_NAME) {
      return false;
    }
    if (path[0] == '@') {
      path[0] = 0;
    }
    byte[] text = message.getBytes(StandardCharsets.UTF_8);
    // struct sockaddr_un: family, name.
    ByteBuffer address = ByteBuffer.allocateDirect(2 + path.length + 1);
    address.order(ByteOrder.nativeOrder()).putShort((short) AF_UNIX).put(path);
    MemorySegment type = MemorySegment.ofAddress(SOCK_DGRAM_CLOEXEC);
    long fd = Syscall.call(SOCKET, AF_UNIX, type, 0, 0, 0, 0);
    if (fd < 0) {
      return false;
    }
    try {
      MemorySegment bytes =
          MemorySegment.ofBuffer(ByteBuffer.allocateDirect(text.length).put(text).flip());
      MemorySegment to = MemorySegment.ofBuffer(address.clear());
      int length = 2 + path.length + (path[0] == 0 ? 0 : 1);
      return Syscall.call(SENDTO, fd, bytes, text.length, 0, to.address(), length) >= 0;
    } finally {
      Reference.reachabilityFence(address);
      Syscall.call(CLOSE, fd, MemorySegment.NULL, 0, 0, 0, 0);
    }
  }
}
