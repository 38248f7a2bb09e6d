package dev.imago.cli;

/** The command line cannot be understood. Its message is followed by a pointer to the help. */
final class UsageException extends Exception {
  private static final long serialVersionUID = 1L;

  private final String message;
  private final String nearest;

  UsageException(String message) {
    this(message, "");
  }

  /**
   * For a word that is not known.
   *
   * @param nearest what may have been meant; empty if nothing is like it
   */
  UsageException(String message, String nearest) {
    super(message);
    this.message = message;
    this.nearest = nearest;
  }

  /** What may have been meant, or empty. */
  String nearest() {
    return nearest;
  }

  @Override
  public String getMessage() {
    return message;
  }
}
