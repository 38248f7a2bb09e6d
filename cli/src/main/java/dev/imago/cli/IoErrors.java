package dev.imago.cli;

import dev.imago.image.ImageException;
import dev.imago.image.UnsupportedFeatureException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;

/** Why a request of {@code io} failed, in the words that the C library has for it. */
final class IoErrors {
  /** What everything is that has no better name. */
  static final String IO = "Input/output error";

  /** What is not there for this image. */
  static final String UNSUPPORTED = "Operation not supported";

  private IoErrors() {}

  /**
   * The word for it. Where that says less than is known, the rest goes to standard error.
   *
   * @param terminal where to say more
   */
  static String text(Terminal terminal, IOException thrown) {
    if (thrown instanceof UnsupportedFeatureException) {
      return UNSUPPORTED;
    }
    if (thrown instanceof FileSystemException e
        && !(thrown instanceof AccessDeniedException)
        && e.getReason() != null) {
      return e.getReason();
    }
    if (thrown.getCause() instanceof IOException cause && !(thrown instanceof ImageException)) {
      return text(terminal, cause);
    }
    if (!(thrown instanceof AccessDeniedException)) {
      terminal.error(Errors.text(thrown));
    }
    return IO;
  }
}
