package dev.imago.cli;

/** The command line cannot be understood. Its message is followed by a pointer to the help. */
final class UsageException extends Exception {
  private static final long serialVersionUID = 1L;

  private final String message;

  UsageException(String message) {
    super(message);
    this.message = message;
  }

  @Override
  public String getMessage() {
    return message;
  }
}
