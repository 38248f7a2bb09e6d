package dev.imago.cli;

import dev.imago.nbd.NbdServer;
import java.io.IOException;
import sun.misc.Signal;
import sun.misc.SignalHandler;

/**
 * What signals do to a server: the first SIGTERM, SIGINT or SIGHUP ends it in an orderly way, the
 * second ends the process at once.
 */
final class Stopping implements SignalHandler {
  private final NbdServer server;
  private boolean asked;

  private Stopping(NbdServer server) {
    this.server = server;
  }

  /** Listens for the rest of this process, if it is ours. */
  static void on(NbdServer server) {
    if (!Main.ownsProcess) {
      return;
    }
    Stopping stopping = new Stopping(server);
    stopping.on("TERM");
    stopping.on("INT");
    stopping.on("HUP");
  }

  private void on(String name) {
    try {
      Signal.handle(new Signal(name), this);
    } catch (IllegalArgumentException e) {
      // This system has no such signal, or the JVM was told to keep it.
      return;
    }
  }

  @Override
  public void handle(Signal signal) {
    synchronized (this) {
      if (asked) {
        Runtime.getRuntime().halt(Signals.STOPPED);
      }
      asked = true;
    }
    try {
      server.close();
    } catch (IOException e) {
      // Whoever waits for the end closes it, too, and is told.
      return;
    }
  }
}
