package dev.imago.nbd;

import dev.imago.nbd.wire.CommandType;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * What a server has answered to and not yet made safe. When a connection is lost, the server may
 * have been: then nobody can vouch for these changes any more, and every later flush fails instead
 * of lying. Shared by all connections of a client.
 *
 * <p>A server that dies takes all connections with it, and one that was idle shows it late. So the
 * first loss counts for all connections of its generation: they are given up together, and what is
 * answered on newer ones is not endangered by it.
 */
final class Unflushed {
  private final String name;
  private int generation;
  private int made;
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

  /** The generation of connections that are made now. */
  synchronized int generation() {
    return generation;
  }

  /** Numbers connections in the order in which they are made. */
  synchronized int number() {
    return made++;
  }

  /** How many changes have been answered; a flush that is sent now covers them. */
  synchronized long answered() {
    return answered;
  }

  /**
   * A request has been answered well.
   *
   * @param by the generation of the connection
   */
  synchronized void answered(ClientRequest request, int by) {
    if (request.changes()) {
      answered++;
      if (by < generation && lost == null) {
        lost = new IOException("answered when another connection had been lost");
      }
    } else if (request.type == CommandType.FLUSH && by == generation) {
      flushed = Math.max(flushed, request.covered);
    }
  }

  /**
   * A connection is lost.
   *
   * @param by its generation
   * @return whether it is the first of them: the others are to be given up too
   */
  synchronized boolean connectionLost(int by, IOException why) {
    if (by < generation) {
      return false;
    }
    generation++;
    if (answered > flushed && lost == null) {
      lost = why;
    }
    return true;
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
