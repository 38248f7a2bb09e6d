package dev.imago.cli;

/** A command ends without having done what it was asked for, and says why in QEMU's words. */
final class Failure extends Exception {
  private static final long serialVersionUID = 1L;

  private final String message;
  private final int exitCode;

  /**
   * Ends with exit code 1.
   *
   * @param message what to print behind the program's name; may have more lines
   */
  Failure(String message) {
    this(message, 1);
  }

  /** Ends with a code of its own. */
  Failure(String message, int exitCode) {
    super(message);
    this.message = message;
    this.exitCode = exitCode;
  }

  /** A failure with a cause, kept for whoever debugs this program; it is never printed. */
  Failure(String message, int exitCode, Throwable cause) {
    super(message, cause);
    this.message = message;
    this.exitCode = exitCode;
  }

  @Override
  public String getMessage() {
    return message;
  }

  int exitCode() {
    return exitCode;
  }
}
