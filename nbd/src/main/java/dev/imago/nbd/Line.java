package dev.imago.nbd;

import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdProtocolException;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A connection that is made anew when it is lost. What was not answered is sent again in the same
 * order before anything else: each of these requests is still waited for, so to its caller it
 * happens once. A server that breaks the protocol is not called again.
 */
final class Line {
  /** A request that was sent so often is not sent again: it may be what kills the server. */
  static final int MAX_ATTEMPTS = 5;

  private static final long FIRST_PAUSE_MILLIS = 20;
  private static final long LONGEST_PAUSE_MILLIS = 1000;

  private final String name;
  private final Dialler dialler;
  private final Unflushed unflushed;
  private final NbdClientOptions options;
  private final Consumer<IOException> others;

  private final ReentrantLock lock = new ReentrantLock();

  /** Signalled when {@link #current} is another one, or will not be. */
  private final Condition sought = lock.newCondition();

  private volatile ClientConnection current;
  private boolean seeking;
  private int failures;
  private @Nullable NbdException lastFailure;

  /** Nothing helps any more. */
  private volatile @Nullable NbdException dead;

  /**
   * A line over a connection that was made.
   *
   * @param others has all lines give up connections that are no newer than the one that was lost
   */
  Line(
      String name,
      Dialler dialler,
      NbdClientOptions options,
      Unflushed unflushed,
      ClientHandshake.Ready ready,
      Consumer<IOException> others) {
    this.name = name;
    this.dialler = dialler;
    this.options = options;
    this.unflushed = unflushed;
    this.others = others;
    this.current = new ClientConnection(ready, unflushed);
  }

  /** Gives the connection up if it was made before all of them were; the next request redials. */
  void giveUp(IOException why) {
    ClientConnection connection = current;
    if (connection.generation() < unflushed.generation()) {
      connection.breakOff(new IOException("another connection was lost: " + why.getMessage(), why));
    }
  }

  /** What is used now; maybe broken. */
  ClientConnection connection() {
    return current;
  }

  int inFlight() {
    return current.inFlight();
  }

  /** Sends a request and waits until it is done. */
  void perform(ClientRequest request) throws NbdException {
    ClientConnection connection = current;
    connection.send(request);
    connection.await(request);
    while (!request.done) {
      connection = replaced(connection, request);
      if (!request.done) {
        if (request.connection != connection) {
          connection.send(request);
        }
        connection.await(request);
      }
    }
    NbdException failure = request.failure();
    if (failure != null) {
      throw new NbdException(name, failure.reason(), failure);
    }
  }

  /** What is used in place of a connection that is broken; sought by one thread for all. */
  private ClientConnection replaced(ClientConnection broken, ClientRequest request)
      throws NbdException {
    lock.lock();
    try {
      int failuresBefore = failures;
      while (seeking && current == broken) {
        sought.awaitUninterruptibly();
        if (failures != failuresBefore && lastFailure != null && !request.done) {
          throw new NbdException(name, lastFailure.reason(), lastFailure);
        }
      }
      if (current != broken || request.done) {
        return current;
      }
      if (dead != null) {
        broken.takeUnanswered(); // nobody fills buffers any more
        throw new NbdException(name, dead.reason(), dead);
      }
      seeking = true;
    } finally {
      lock.unlock();
    }
    IOException why = broken.broken();
    List<ClientRequest> left = broken.takeUnanswered();
    try {
      seek(why == null ? new IOException("closed") : why, left);
      return current;
    } catch (NbdException e) {
      left.forEach(each -> each.fail(e));
      found(null, e);
      throw e;
    } catch (RuntimeException | Error e) {
      NbdException failure = new NbdException(name, "a mistake in the client: " + e, e);
      left.forEach(each -> each.fail(failure));
      found(null, failure);
      throw e;
    }
  }

  private void seek(IOException why, List<ClientRequest> left) throws NbdException {
    if (unflushed.connectionLost(current.generation(), why)) {
      others.accept(why);
    }
    if (why instanceof NbdProtocolException) {
      dead = Dialler.failure(name, why);
      throw dead;
    }
    List<ClientRequest> again = new ArrayList<>();
    for (ClientRequest each : left) {
      NbdException lost = each.type == CommandType.FLUSH ? unflushed.failure() : null;
      if (lost != null) {
        each.fail(lost);
      } else if (each.attempts >= MAX_ATTEMPTS) {
        each.fail(
            new NbdException(
                name,
                "%s was sent %d times and never answered; each time the connection was lost: %s"
                    .formatted(each.type, MAX_ATTEMPTS, why.getMessage()),
                why));
      } else {
        each.startAgain();
        again.add(each);
      }
    }
    ClientConnection made = redial(why);
    made.sendAll(again, () -> use(made));
  }

  /** From now on others see it, unless it came too late. */
  private void use(ClientConnection made) {
    found(made, null);
    NbdException end = dead;
    if (end != null) {
      made.breakOff(end);
    }
    giveUp(new IOException("while this one was made"));
  }

  private void found(@Nullable ClientConnection made, @Nullable NbdException failure) {
    lock.lock();
    try {
      seeking = false;
      if (made != null) {
        current = made;
      } else {
        failures++;
        lastFailure = failure;
      }
      sought.signalAll();
    } finally {
      lock.unlock();
    }
  }

  private ClientConnection redial(IOException why) throws NbdException {
    long end = System.nanoTime() + options.retry().toNanos();
    long pause = FIRST_PAUSE_MILLIS;
    IOException last = null;
    while (true) {
      long left = end - System.nanoTime();
      if (left <= 0 || dead != null) {
        String tried = last == null ? "" : "; since then: " + last.getMessage();
        throw new NbdException(name, "connection lost: " + why.getMessage() + tried, why);
      }
      try {
        return accepted(
            dialler.dial(Duration.ofNanos(Math.min(left, options.timeout().toNanos()))));
      } catch (IOException e) {
        // That this attempt had less time than it needed says less than what the one before met.
        last = last != null && e instanceof SocketTimeoutException ? last : e;
      }
      pause(Math.min(pause, TimeUnit.NANOSECONDS.toMillis(left) + 1));
      pause = Math.min(2 * pause, LONGEST_PAUSE_MILLIS);
    }
  }

  private ClientConnection accepted(ClientHandshake.Ready ready) throws IOException {
    ClientConnection made = new ClientConnection(ready, unflushed);
    if (!current.agreed().sameAs(made.agreed())) {
      made.close();
      throw new IOException("the export is not what it was: its size or its abilities changed");
    }
    return made;
  }

  private static void pause(long millis) {
    long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
    boolean interrupted = false;
    for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
      LockSupport.parkNanos(left);
      interrupted |= Thread.interrupted();
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Ends the connection; requests that are under way fail. */
  void close() {
    lock.lock();
    try {
      dead = new NbdException(name, "closed");
    } finally {
      lock.unlock();
    }
    current.close();
  }
}
