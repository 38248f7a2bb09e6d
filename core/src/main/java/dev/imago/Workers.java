package dev.imago;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * Runs one job on several threads, the caller's being one of them, and waits for all. The first
 * failure asks the others to stop, and is thrown.
 */
final class Workers {
  private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();

  /** What each thread does: draws work until there is none or {@link #stopped}. */
  @FunctionalInterface
  interface Job {
    void run(Workers workers) throws IOException;
  }

  private Workers() {}

  /**
   * Runs {@code job} once on each thread.
   *
   * @param name of the threads, for thread dumps
   * @param threads at least 1; 1 makes no thread
   * @throws InterruptedIOException if the caller was interrupted: the job was stopped early, and
   *     the interrupt status is kept
   */
  static void run(String name, int threads, Job job) throws IOException {
    Workers workers = new Workers();
    List<Thread> others = new ArrayList<>();
    try {
      for (int i = 1; i < threads; i++) {
        others.add(
            Thread.ofPlatform().daemon().name(name + "-" + i).start(() -> workers.attempt(job)));
      }
      workers.attempt(job);
    } finally {
      workers.awaitAll(others);
    }
    // Not a switch over types: the JVM spins a class for it when it first meets one (5 ms and
    // more).
    Throwable failure = workers.failure.get();
    if (failure instanceof IOException e) {
      throw e;
    }
    if (failure instanceof RuntimeException e) {
      throw e;
    }
    if (failure instanceof Error e) {
      throw e;
    }
    if (failure != null) {
      throw new IllegalStateException(failure);
    }
  }

  /** Whether to draw no more work. */
  boolean stopped() {
    if (Thread.currentThread().isInterrupted()) {
      fail(new InterruptedIOException("interrupted"));
    }
    return failure.get() != null;
  }

  private void attempt(Job job) {
    try {
      job.run(this);
    } catch (Throwable e) {
      fail(e);
    }
  }

  /** Asks all to stop. The first failure is the one that counts. */
  void fail(Throwable e) {
    if (!failure.compareAndSet(null, e)) {
      Throwable first = failure.get();
      if (first != null && !first.equals(e)) {
        first.addSuppressed(e);
      }
    }
  }

  private void awaitAll(List<Thread> threads) {
    boolean interrupted = false;
    for (Thread thread : threads) {
      while (true) {
        try {
          thread.join();
          break;
        } catch (InterruptedException e) {
          interrupted = true;
          fail(new InterruptedIOException("interrupted"));
        }
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
