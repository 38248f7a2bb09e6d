package dev.imago;

import java.io.IOException;

/** A copy ended early because one of its images could not be read or written. */
public final class ConvertException extends IOException {
  private static final long serialVersionUID = 1L;

  private final boolean writing;
  private final long guestOffset;

  /** Names the place; {@code cause} says what happened there. */
  ConvertException(boolean writing, long guestOffset, IOException cause) {
    super(
        "error while %s at byte %d: %s"
            .formatted(writing ? "writing" : "reading", guestOffset, cause.getMessage()),
        cause);
    this.writing = writing;
    this.guestOffset = guestOffset;
  }

  /** Whether the target failed; otherwise a source did. */
  public boolean writing() {
    return writing;
  }

  /** Where in the target the request began that failed. */
  public long guestOffset() {
    return guestOffset;
  }
}
