package dev.imago;

import java.io.IOException;

/**
 * A file that an image names inside itself could not be opened, though the caller's references
 * allow it. The cause says why.
 */
public final class ReferenceFailedException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String image;
  private final boolean dataFile;
  private final String reference;

  ReferenceFailedException(String image, boolean dataFile, String reference, IOException cause) {
    super(
        "%s: could not open %s '%s': %s"
            .formatted(
                image, dataFile ? "data file" : "backing file", reference, cause.getMessage()),
        cause);
    this.image = image;
    this.dataFile = dataFile;
    this.reference = reference;
  }

  /** The image that names the file. */
  public String image() {
    return image;
  }

  /** Whether it is a data file; otherwise a backing file. */
  public boolean dataFile() {
    return dataFile;
  }

  /** The file, relative names resolved as {@link Images#resolveName} does. */
  public String reference() {
    return reference;
  }
}
