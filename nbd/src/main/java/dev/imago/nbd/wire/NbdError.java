package dev.imago.nbd.wire;

/** Error numbers of replies. The protocol's own; that they are Linux's is no accident. */
public enum NbdError {
  /** The export is read-only. */
  EPERM(1, "Operation not permitted"),
  /** The disk failed. */
  EIO(5, "Input/output error"),
  /** Not enough memory. */
  ENOMEM(12, "Cannot allocate memory"),
  /** The request makes no sense. */
  EINVAL(22, "Invalid argument"),
  /** No room left, or past the export's end. */
  ENOSPC(28, "No space left on device"),
  /** Too long for what was asked. */
  EOVERFLOW(75, "Value too large for defined data type"),
  /** Not faster than writing. */
  ENOTSUP(95, "Operation not supported"),
  /** The server is about to end. */
  ESHUTDOWN(108, "Cannot send after transport endpoint shutdown");

  private final int code;
  private final String text;

  NbdError(int code, String text) {
    this.code = code;
    this.text = text;
  }

  /** The number on the wire. */
  public int code() {
    return code;
  }

  /** What the C library says of it. */
  public String text() {
    return text;
  }

  /** The error of this number; those that are not known mean {@link #EINVAL}. */
  public static NbdError of(int code) {
    for (NbdError error : values()) {
      if (error.code == code) {
        return error;
      }
    }
    return EINVAL;
  }
}
