package dev.imago;

/** In which order the batches of a copy, which several threads bring in, get into the target. */
enum CopyOrder {
  /** Whichever is ready. */
  FREE,

  /**
   * Places are found in the batches' order, and filled in any: the same copy gives the same file.
   */
  PLACES,

  /**
   * One batch is written after the other. By way of the page cache no two threads write to one file
   * at a time anyway, and a file that is filled from its beginning on lies on the disk in fewer
   * pieces.
   */
  WRITES
}
