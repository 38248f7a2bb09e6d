package dev.imago;

import java.io.IOException;

/** The image's format keeps nothing that could be checked. */
public final class CheckUnsupportedException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String format;

  /** Names the image and its format. */
  public CheckUnsupportedException(String image, String format) {
    super("%s: images of format %s cannot be checked".formatted(image, format));
    this.format = format;
  }

  /** The format's name. */
  public String format() {
    return format;
  }
}
