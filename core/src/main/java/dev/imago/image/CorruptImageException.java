package dev.imago.image;

/** An image's structures contradict each other. Nothing more is written to it. */
public final class CorruptImageException extends ImageException {
  private static final long serialVersionUID = 1L;

  /**
   * Names the place and the problem.
   *
   * @param image the image's name, or empty
   * @param hostOffset where, or -1
   * @param field the specification's name of the field
   * @param problem what is there, and what is allowed
   * @param advice what to do next, or empty
   */
  public CorruptImageException(
      String image, long hostOffset, String field, String problem, String advice) {
    super(image, hostOffset, field, problem, advice);
  }

  /** As above, without advice. */
  public CorruptImageException(String image, long hostOffset, String field, String problem) {
    this(image, hostOffset, field, problem, "");
  }
}
