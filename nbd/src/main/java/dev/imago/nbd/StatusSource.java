package dev.imago.nbd;

import dev.imago.nbd.wire.StatusExtent;
import java.io.IOException;

/**
 * What one meta context says of an export. {@link #fresh} is safe for all threads; what it returns
 * is for one reply and its thread.
 */
interface StatusSource {
  /** The same for one reply. */
  default StatusSource fresh() {
    return this;
  }

  /**
   * What is at an offset, and how far that goes; the answer may be shorter than the real run. For
   * one reply it is asked ascending, first for all that is wanted, then for the rest.
   *
   * @param offset in the export
   * @param maxLength at least 1; within the export
   */
  StatusExtent at(long offset, long maxLength) throws IOException;
}
