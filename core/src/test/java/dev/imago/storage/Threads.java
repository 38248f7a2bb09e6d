package dev.imago.storage;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;

/** Threads whose failures are the test's failures. */
final class Threads {
  private Threads() {}

  /** Runs one body in one new thread and waits for it. */
  static void run(Thread.Builder builder, StorageKind.Body body) throws Exception {
    runAll(builder, List.of(body));
  }

  /** Runs each body in a thread of its own and waits for all. */
  static void runAll(Thread.Builder builder, List<? extends StorageKind.Body> bodies)
      throws Exception {
    AtomicReference<Throwable> failure = new AtomicReference<>();
    List<Thread> threads = new ArrayList<>();
    for (StorageKind.Body body : bodies) {
      threads.add(builder.start(() -> keepFailure(body, failure)));
    }
    for (Thread thread : threads) {
      thread.join();
    }
    if (failure.get() != null) {
      throw new AssertionError("in another thread: " + failure.get(), failure.get());
    }
  }

  private static void keepFailure(StorageKind.Body body, AtomicReference<Throwable> failure) {
    try {
      body.run();
    } catch (Throwable e) {
      failure.compareAndSet(null, e);
    }
  }
}
