package dev.imago.image;

import java.io.IOException;

/**
 * Something is wrong with an image itself, not with the operating system below it.
 *
 * <p>The message has the form <em>image: field at host offset 0x…: what is there, what is
 * allowed</em>.
 */
public abstract sealed class ImageException extends IOException
    permits ImageFormatException,
        CorruptImageException,
        UnsupportedFeatureException,
        ReferenceDeniedException,
        EncryptionKeyException {
  private static final long serialVersionUID = 1L;

  private final String image;
  private final long hostOffset;
  private final String field;
  private final String problem;
  private final String advice;

  ImageException(String image, long hostOffset, String field, String problem, String advice) {
    super(message(image, hostOffset, field, problem));
    this.image = image;
    this.hostOffset = hostOffset;
    this.field = field;
    this.problem = problem;
    this.advice = advice;
  }

  private static String message(String image, long hostOffset, String field, String problem) {
    StringBuilder text = new StringBuilder();
    if (!image.isEmpty()) {
      text.append(image).append(": ");
    }
    text.append(field);
    if (hostOffset >= 0) {
      text.append(" at host offset 0x").append(Long.toHexString(hostOffset));
    }
    return text.append(": ").append(problem).toString();
  }

  /** The image's name; empty if the bytes came without one. */
  public String image() {
    return image;
  }

  /** Where the bad bytes are, or -1 if that is no single place. */
  public long hostOffset() {
    return hostOffset;
  }

  /** The specification's name for the bad field. */
  public String field() {
    return field;
  }

  /** What is there and what is allowed. */
  public String problem() {
    return problem;
  }

  /** What a user can do next; empty if there is nothing to propose. */
  public String advice() {
    return advice;
  }
}
