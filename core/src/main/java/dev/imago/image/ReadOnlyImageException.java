package dev.imago.image;

/** A caller tried to change an image that was opened for reading only. */
public final class ReadOnlyImageException extends IllegalStateException {
  private static final long serialVersionUID = 1L;

  /** Names the image. */
  public ReadOnlyImageException(String image) {
    super(image + ": the image was opened read-only");
  }
}
