package dev.imago.cli;

import java.util.ArrayList;
import java.util.List;

/** The requests that {@code aio_read} and {@code aio_write} have begun, each on its own thread. */
final class IoRequests {
  private final List<Thread> running = new ArrayList<>();

  /** Begins one; what it throws is told on the terminal. */
  void start(Terminal terminal, Runnable request) {
    running.removeIf(thread -> !thread.isAlive());
    running.add(Thread.ofPlatform().daemon().start(() -> run(terminal, request)));
  }

  private static void run(Terminal terminal, Runnable request) {
    try {
      request.run();
    } catch (RuntimeException | OutOfMemoryError e) {
      terminal.error(Errors.failure(e).getMessage());
    }
  }

  /** Waits until all have ended. */
  void await() {
    boolean interrupted = false;
    for (Thread thread : running) {
      while (thread.isAlive()) {
        try {
          thread.join();
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
    }
    running.clear();
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
