package dev.imago.nbd;

import dev.imago.nbd.wire.StatusExtent;
import java.io.IOException;

/** What one meta context says of an export. Safe for all threads. */
interface StatusSource {
  /**
   * What is at an offset, and how far that goes; the answer may be shorter than the real run.
   *
   * @param offset in the export
   * @param maxLength at least 1; within the export
   */
  StatusExtent at(long offset, long maxLength) throws IOException;
}
