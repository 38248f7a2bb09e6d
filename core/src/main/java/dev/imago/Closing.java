package dev.imago;

import java.io.Closeable;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/** Closes what a failure leaves open. */
final class Closing {
  private Closing() {}

  /** Closes all that is not null, on the way out because of {@code failure}. */
  static void after(Exception failure, @Nullable Closeable... left) {
    for (Closeable each : left) {
      if (each == null) {
        continue;
      }
      try {
        each.close();
      } catch (IOException | RuntimeException e) {
        failure.addSuppressed(e);
      }
    }
  }
}
