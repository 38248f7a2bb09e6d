package dev.imago.nbd;

import dev.imago.nbd.wire.CommandType;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * What a server has answered to and not yet made safe. When a connection is lost, the server may
 * have been: then nobody can vouch for these changes any more, and every later flush fails instead
 * of lying. Shared by all connections of a client.
 */
final class Unflushed {
  private final String name;
  private long answered;
  private long flushed;
  private @Nullable IOException lost;

  /**
   * Nothing has changed yet.
   *
   * @param name the export's
   */
  Unflushed(String name) {
    this.name = name;
  }

  /** How many changes have been answered; a flush that is sent now covers them. */
  synchronized long answered() {
    return answered;
  }

  /** A request has been answered well. */
  synchronized void answered(ClientRequest request) {
    if (request.changes()) {
      answered++;
    } else if (request.type == CommandType.FLUSH) {
      flushed = Math.max(flushed, request.covered);
    }
  }

  /** A connection is lost. */
  synchronized void connectionLost(IOException why) {
    if (answered > flushed && lost == null) {
      lost = why;
    }
  }

  /** What every flush fails with from now on, or null. */
  synchronized @Nullable NbdException failure() {
    return lost == null
        ? null
        : new NbdException(
            name,
            "the connection was lost (%s) after changes that no flush had covered: they may be lost"
                .formatted(lost.getMessage()),
            lost);
  }
}
