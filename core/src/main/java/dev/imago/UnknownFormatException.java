package dev.imago;

import java.io.IOException;

/** There is no such format here. */
public final class UnknownFormatException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String format;

  /** Names the format that was asked for. */
  public UnknownFormatException(String format) {
    super("Unknown file format '%s'".formatted(format));
    this.format = format;
  }

  /** The name that was asked for. */
  public String format() {
    return format;
  }
}
