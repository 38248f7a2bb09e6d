package dev.imago.qcow2;

import org.jspecify.annotations.Nullable;

/**
 * Where the guest clusters of one allocation go: host clusters that follow one another.
 *
 * @param hostOffset of the first
 * @param clusters how many; 0 if none is needed
 * @param fillFrom from which guest offset on bytes must be written there, so that nothing is lost;
 *     it lies in the first cluster
 * @param end guest offset where the bytes of the request end that this is a place for; in the last
 *     cluster, or at its end
 * @param fillTo up to which guest offset bytes must be written there
 * @param taken what was taken for it; null if the clusters were reserved for it before
 */
record Place(
    long hostOffset,
    long clusters,
    long fillFrom,
    long end,
    long fillTo,
    Allocator.@Nullable Taken taken) {
  /** Nothing needs a new place. */
  static final Place NONE = new Place(-1, 0, -1, -1, -1, null);

  /** Bytes that must be written. */
  long fillLength() {
    return fillTo - fillFrom;
  }
}
