package dev.imago.nbd;

import java.io.IOException;

/**
 * An export cannot be used, or not any more: there is no server, it refuses, it breaks the
 * protocol, or the connection was lost. What a server answers to a single request is a {@link
 * dev.imago.storage.StorageIoException} instead.
 */
public final class NbdException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String name;
  private final String reason;

  NbdException(String name, String reason) {
    super(name + ": " + reason);
    this.name = name;
    this.reason = reason;
  }

  NbdException(String name, String reason, Throwable cause) {
    super(name + ": " + reason, cause);
    this.name = name;
    this.reason = reason;
  }

  /** The export, as {@link NbdUri} writes it. */
  public String name() {
    return name;
  }

  /**
   * What is wrong, without the name. May have a second line, with what the server said; control
   * characters of it are replaced.
   */
  public String reason() {
    return reason;
  }
}
