package dev.imago.testing;

import java.io.IOException;

/** What every call of a {@link CrashStorage} ends in once the machine has died. */
public final class CrashedException extends IOException {
  private static final long serialVersionUID = 1L;

  CrashedException(String storage) {
    super(storage + ": the machine has crashed");
  }
}
