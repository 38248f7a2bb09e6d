package dev.imago.cli;

import dev.imago.internal.LinuxSocket;

/** Tells systemd, or whoever set NOTIFY_SOCKET, how far a service is. */
final class ServiceManager {
  private ServiceManager() {}

  /** Clients can connect. */
  static void ready() {
    tell("READY=1\nMAINPID=" + ProcessHandle.current().pid());
  }

  /** The end has begun. */
  static void stopping() {
    tell("STOPPING=1");
  }

  /** Refuses to go on in another process, which a service manager's socket does not reach. */
  static void requireNoSocket() throws Failure {
    if (String.valueOf(ProcessHandle.current().pid()).equals(System.getenv("LISTEN_PID"))) {
      throw new Failure("The socket comes from the service manager: --fork is not allowed");
    }
  }

  /** Nobody is there to hear of it if this fails. */
  private static void tell(String state) {
    String socket = System.getenv("NOTIFY_SOCKET");
    if (socket != null) {
      LinuxSocket.send(socket, state);
    }
  }
}
