package dev.imago;

import java.io.IOException;

/** A {@link Rebase} ended early. The image shows what it showed before. The cause says why. */
public final class RebaseException extends IOException {
  private static final long serialVersionUID = 1L;

  private final Step step;

  /** What was being done. */
  public enum Step {
    /** The new backing file could not be opened. */
    OPENING_BACKING,
    /** Something could not be read, or not be written into the image. */
    COPYING,
    /** The image's header could not be changed. */
    CHANGING_HEADER
  }

  RebaseException(Step step, Exception cause) {
    super(String.valueOf(cause.getMessage()), cause);
    this.step = step;
  }

  /** What was being done. */
  public Step step() {
    return step;
  }
}
