package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.Progress;
import java.io.IOException;

/** Compares what guests see in two images. */
public final class Compare {
  private Compare() {}

  /** How a comparison ended. */
  public enum Verdict {
    /** All bytes are the same; what one image has more reads as zero. */
    IDENTICAL,
    /** Bytes differ. */
    CONTENT_MISMATCH,
    /** Strict only: one image is longer. */
    SIZE_MISMATCH,
    /** Strict only: the bytes are equal, but one layer keeps them and the other has a hole. */
    STATUS_MISMATCH
  }

  /**
   * What was found.
   *
   * @param offset guest offset of the difference, rounded down to a multiple of 512; -1 if there is
   *     none or it is one of size
   * @param sizesDiffer whether one image is longer
   */
  public record Result(Verdict verdict, long offset, boolean sizesDiffer) {}

  /**
   * Compares up to the first difference.
   *
   * @param strict whether sizes and allocation must be equal too
   * @throws CompareException if an image could not be read
   */
  public static Result compare(Image a, Image b, boolean strict, Progress progress)
      throws IOException {
    throw new UnsupportedOperationException();
  }
}
