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
    /** Strict only: one layer keeps bytes where the other has a hole, or keeps them differently. */
    STATUS_MISMATCH
  }

  /**
   * What was found.
   *
   * @param offset guest offset of the first difference, rounded down to a multiple of 512 if it is
   *     one of content; -1 if there is none or it is one of size
   * @param sizesDiffer whether one image is longer
   */
  public record Result(Verdict verdict, long offset, boolean sizesDiffer) {}

  /** Compares up to the first difference, with a thread for each processor, but 4 at most. */
  public static Result compare(Image a, Image b, boolean strict, Progress progress)
      throws IOException {
    int processors = Runtime.getRuntime().availableProcessors();
    return compare(a, b, strict, Math.clamp(processors, 1, 4), progress);
  }

  /**
   * Compares up to the first difference. What is a hole in both images is not read.
   *
   * @param strict whether sizes, and the kinds of mapping, must be equal too
   * @param parallelism how many threads read; 1 uses the caller's alone
   * @param progress told of the bytes of the longer image that are done
   * @throws CompareException if an image could not be read
   */
  public static Result compare(Image a, Image b, boolean strict, int parallelism, Progress progress)
      throws IOException {
    boolean sizesDiffer = a.size() != b.size();
    if (strict && sizesDiffer) {
      return new Result(Verdict.SIZE_MISMATCH, -1, true);
    }
    var comparison = new Comparison(a, b, strict, progress);
    Workers.run("imago-compare", parallelism, comparison::work);
    return comparison.result();
  }
}
