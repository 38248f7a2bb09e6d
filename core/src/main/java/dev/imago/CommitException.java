package dev.imago;

import java.io.IOException;

/** An image cannot be committed, because of what stands behind it. Nothing was changed. */
public final class CommitException extends IOException {
  private static final long serialVersionUID = 1L;

  CommitException(String message) {
    super(message);
  }
}
