package dev.imago;

import dev.imago.image.Image;
import java.io.IOException;

/** A comparison ended early because one of its images could not be read. */
public final class CompareException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String image;
  private final boolean mapping;
  private final long guestOffset;

  CompareException(Image image, boolean mapping, long guestOffset, IOException cause) {
    super(
        "error while %s offset %d of %s: %s"
            .formatted(
                mapping ? "looking up" : "reading", guestOffset, image.name(), cause.getMessage()),
        cause);
    this.image = image.name();
    this.mapping = mapping;
    this.guestOffset = guestOffset;
  }

  /** Name of the image that failed. */
  public String image() {
    return image;
  }

  /** Whether the look-up of where bytes are failed; otherwise the reading of them. */
  public boolean mapping() {
    return mapping;
  }

  /** Where. */
  public long guestOffset() {
    return guestOffset;
  }
}
