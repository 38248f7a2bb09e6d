package dev.imago.nbd;

import java.util.ArrayDeque;
import java.util.LinkedHashSet;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;

/**
 * Whose request a thread does next. Each connection may always have one of its requests done; what
 * it has done beside that, it has by threads that all connections share, one request at a time in
 * turn. So no client waits for another one's slow requests, nor for one that does not read.
 *
 * <p>Safe for all threads.
 */
final class Turns {
  private final Executor pool;

  /** Threads that nobody uses now; while there is one, nobody waits. Guarded by the monitor. */
  private int spare;

  /** Those with requests that wait, in the order of their turns. Guarded by the monitor. */
  private final LinkedHashSet<Line> waiting = new LinkedHashSet<>();

  /**
   * Nobody has asked for anything yet.
   *
   * @param pool starts what it is given at once: there are never more than {@code shared} tasks and
   *     one for each connection
   * @param shared how many requests are done beside each connection's first
   */
  Turns(Executor pool, int shared) {
    this.pool = pool;
    this.spare = shared;
  }

  /** Requests of one connection. */
  static final class Line {
    private final ArrayDeque<Runnable> requests = new ArrayDeque<>();
    private int running;
  }

  /**
   * Has a request done. If this throws, it will not be.
   *
   * @param request must not throw
   */
  void add(Line line, Runnable request) {
    synchronized (this) {
      if (line.running > 0 && spare == 0) {
        line.requests.add(request);
        waiting.add(line);
        return;
      }
      begin(line);
    }
    boolean given = false;
    try {
      pool.execute(() -> work(line, request));
      given = true;
    } finally {
      if (!given) {
        end(line);
      }
    }
  }

  private void begin(Line line) {
    if (line.running > 0) {
      spare--;
    }
    line.running++;
  }

  private synchronized void end(Line line) {
    line.running--;
    if (line.running > 0) {
      spare++;
    }
  }

  private void work(Line line, Runnable request) {
    for (Turn turn = new Turn(line, request); turn != null; turn = next(turn.line)) {
      turn.request.run();
    }
  }

  private record Turn(Line line, Runnable request) {}

  /** What to do after a request of {@code done}, or null. */
  private synchronized @Nullable Turn next(Line done) {
    end(done);
    // Its own thread stays its own; a shared one goes to whose turn it is.
    Line line = done;
    if (done.running > 0 || done.requests.isEmpty()) {
      if (spare == 0 || waiting.isEmpty()) {
        return null;
      }
      line = waiting.getFirst();
    }
    waiting.remove(line);
    Turn turn = new Turn(line, line.requests.remove());
    begin(line);
    if (!line.requests.isEmpty()) {
      waiting.add(line);
    }
    return turn;
  }
}
