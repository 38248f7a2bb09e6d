package dev.imago.image;

import java.util.List;

/**
 * What a repair did, and what is left.
 *
 * @param lines what was found and done, one line each in QEMU's words; at most {@link
 *     CheckResult#MAX_FINDINGS}
 * @param leaksFixed clusters that were given back
 * @param corruptionsFixed contradictions that were set right
 * @param refused whether the repair could not be done in the mode asked for: the counts as a whole
 *     are unusable, and {@link RepairMode#ALL} would make them anew. Nothing was changed then
 * @param left what a second check found; if nothing was repaired, what the first one found, its
 *     findings being in {@code lines}
 * @param lost clusters of the disk whose contents cannot be reached; at most {@link
 *     CheckResult#MAX_FINDINGS}
 */
public record RepairResult(
    List<String> lines,
    long leaksFixed,
    long corruptionsFixed,
    boolean refused,
    CheckResult left,
    List<Lost> lost) {

  /** Keeps copies of the lists. */
  public RepairResult {
    lines = List.copyOf(lines);
    lost = List.copyOf(lost);
  }

  /** Whether anything was changed but for feature bits. */
  public boolean repaired() {
    return leaksFixed + corruptionsFixed > 0;
  }

  /**
   * A run of the disk that cannot be repaired.
   *
   * @param guestOffset where it begins
   * @param length in bytes
   * @param hostOffset where the image says that it is kept
   * @param why what is wrong with that
   */
  public record Lost(long guestOffset, long length, long hostOffset, String why) {}
}
