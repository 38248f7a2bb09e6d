package dev.imago.image;

/** An encrypted image was opened with no key, or with one that does not fit. */
public final class EncryptionKeyException extends ImageException {
  private static final long serialVersionUID = 1L;

  /** What QEMU calls the parameter that names the key. */
  private static final String FIELD = "encrypt.key-secret";

  /**
   * Names the problem.
   *
   * @param image the image's name
   * @param problem a whole sentence
   */
  public EncryptionKeyException(String image, String problem) {
    super(image, -1, FIELD, problem, "");
  }

  /** No key was given. */
  public static EncryptionKeyException missing(String image) {
    return new EncryptionKeyException(
        image, "Parameter 'encrypt.key-secret' is required for cipher");
  }
}
