package dev.imago.image;

import java.util.List;

/**
 * What compacting an image came to.
 *
 * @param sizeBefore bytes of the file before
 * @param sizeAfter bytes of the file now
 * @param movedBytes bytes that were moved to places further ahead
 * @param leftInPlace why clusters behind the space that would be enough stayed where they are, one
 *     line for each reason; empty if none did
 */
public record CompactResult(
    long sizeBefore, long sizeAfter, long movedBytes, List<String> leftInPlace) {
  /** Keeps a copy of the list. */
  public CompactResult {
    leftInPlace = List.copyOf(leftInPlace);
  }
}
