package dev.imago.storage;

import java.util.concurrent.locks.ReentrantLock;

/**
 * How a file is written by way of the page cache: in pieces, and long writes one at a time. File
 * systems see to the latter themselves, but there the threads that wait keep their processors busy:
 * a sixth of a conversion's time.
 */
final class CachedWrites {
  /** From this many bytes on a write is worth being waited for asleep. */
  private static final int LONG = 128 << 10;

  /**
   * What is written at a time. File systems take pages for it in runs as long as the write, and
   * where memory has been handed out and back for a while, runs of 1 MiB cost up to six times the
   * processor time of these (docs/performance.md); of 64 KiB, a tenth more.
   */
  private static final int PIECE = 256 << 10;

  private final ReentrantLock turn = new ReentrantLock();

  /**
   * Waits for its turn to write so many bytes, if they are many.
   *
   * @return whether {@link #end} must follow
   */
  boolean begin(long length) {
    boolean takes = length >= LONG;
    if (takes) {
      turn.lock();
    }
    return takes;
  }

  void end() {
    turn.unlock();
  }

  /** How much is written at a time from an offset on: up to the next multiple of a piece. */
  static int piece(long at) {
    return PIECE - (int) (at & PIECE - 1);
  }
}
