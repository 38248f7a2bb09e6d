package dev.imago.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import sun.misc.Signal;
import sun.misc.SignalHandler;

/**
 * What signals do to a command that takes its time: SIGUSR1 has it tell how far it is, SIGINT,
 * SIGTERM and SIGHUP end it with {@link #STOPPED}. A command in the middle of making a file is
 * asked to take it away first; if that takes too long, the file is taken away under its hands.
 *
 * <p>A signal that was ignored when this process began (by nohup, or by a shell for a job in the
 * background) stays ignored; only SIGUSR1 is listened to all the same, for the launcher ignores it
 * until we are here.
 */
final class Signals implements SignalHandler {
  /** Exit code of a command that was told to stop. */
  static final int STOPPED = 130;

  /** How long a command has for tidying up, in milliseconds. */
  private static final long GRACE = 1500;

  /** Milliseconds for saying so. */
  private static final long LAST_WORDS = 200;

  private final ProgressOutput progress;
  private final Thread worker = Thread.currentThread();
  private boolean making;
  private @Nullable Path made;
  private boolean stopping;

  private Signals(ProgressOutput progress) {
    this.progress = progress;
  }

  /** Listens for the rest of this process; the calling thread is the one that is stopped. */
  static Signals listen(ProgressOutput progress) {
    Signals signals = new Signals(progress);
    signals.on("USR1");
    signals.on("INT");
    signals.on("TERM");
    signals.on("HUP");
    return signals;
  }

  private void on(String name) {
    try {
      Signal.handle(new Signal(name), this);
    } catch (IllegalArgumentException e) {
      // This system has no such signal, or the JVM was told to keep it.
      return;
    }
  }

  /**
   * A file is being made that must not be left half full. Whoever makes it takes it away when it is
   * interrupted.
   *
   * @param file to be taken away if that does not happen in time; null to leave it
   */
  synchronized void making(@Nullable Path file) {
    making = true;
    made = file;
  }

  /** The file is whole. */
  synchronized void finished() {
    making = false;
    made = null;
  }

  @Override
  public void handle(Signal signal) {
    if (signal.getName().equals("USR1")) {
      progress.tell();
    } else if (mayTidyUp()) {
      worker.interrupt();
      // Time for the worker to take its file away: normally it does, and the process is over long
      // before. Only if it hangs, in a call that no interrupt ends, does the halt below come to
      // pass.
      try {
        Thread.sleep(GRACE);
      } catch (InterruptedException e) {
        // Nobody interrupts a signal's thread; if somebody does, the time is over.
      }
      halt();
    } else {
      halt();
    }
  }

  /** The first signal leaves time; a second one does not. */
  private synchronized boolean mayTidyUp() {
    boolean first = !stopping;
    stopping = true;
    Main.stopped = true;
    return first && making;
  }

  private synchronized void halt() {
    try {
      if (made != null) {
        Files.deleteIfExists(made);
      }
    } catch (IOException e) {
      // It stays, and says that it is not finished if its format can.
    } finally {
      // Whoever reads our output may have stopped reading: then nothing more can be said.
      Thread last = Thread.ofPlatform().daemon().start(progress::halted);
      try {
        last.join(LAST_WORDS);
      } catch (InterruptedException e) {
        // It ends here either way.
      }
      Runtime.getRuntime().halt(STOPPED);
    }
  }
}
