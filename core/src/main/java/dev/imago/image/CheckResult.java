package dev.imago.image;

import java.util.List;

/**
 * What a check found. Nothing was changed.
 *
 * @param corruptions contradictions that endanger data
 * @param leaks clusters that are counted but not used
 * @param checkErrors places that could not be looked at
 * @param totalClusters clusters of the virtual disk
 * @param allocatedClusters of these, how many the image itself keeps
 * @param fragmentedClusters of these, how many do not follow their predecessor on the host
 * @param compressedClusters of these, how many are compressed
 * @param imageEndOffset host offset behind the last used cluster
 * @param findings one line each in QEMU's words, in the order found; at most {@link #MAX_FINDINGS}
 */
public record CheckResult(
    long corruptions,
    long leaks,
    long checkErrors,
    long totalClusters,
    long allocatedClusters,
    long fragmentedClusters,
    long compressedClusters,
    long imageEndOffset,
    List<String> findings) {
  /** More findings than this are counted, but not kept. */
  public static final int MAX_FINDINGS = 10_000;

  /** Whether nothing at all was found. */
  public boolean clean() {
    return corruptions == 0 && leaks == 0 && checkErrors == 0;
  }
}
