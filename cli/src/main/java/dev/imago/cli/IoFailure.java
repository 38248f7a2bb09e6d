package dev.imago.cli;

/**
 * A command of {@code io} ends without having done its work, and says why in QEMU's words: a line
 * on standard output, or on standard error without the program's name before it. A {@link Failure}
 * is the third way: with the name.
 */
final class IoFailure extends Exception {
  private static final long serialVersionUID = 1L;

  private final String message;
  private final boolean onError;

  private IoFailure(String message, boolean onError) {
    super(message);
    this.message = message;
    this.onError = onError;
  }

  /** A line on standard output. */
  static IoFailure said(String message) {
    return new IoFailure(message, false);
  }

  /** A line on standard error. */
  static IoFailure complained(String message) {
    return new IoFailure(message, true);
  }

  /** What can be said is said already. */
  static IoFailure silent() {
    return new IoFailure("", false);
  }

  @Override
  public String getMessage() {
    return message;
  }

  /** Says it. */
  void tell(Terminal terminal) {
    if (message.isEmpty()) {
      return;
    }
    if (onError) {
      terminal.note(message);
    } else {
      terminal.line(message);
    }
  }
}
