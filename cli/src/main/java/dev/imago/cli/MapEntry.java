package dev.imago.cli;

/**
 * One line of {@code map}.
 *
 * @param start guest offset
 * @param depth how many layers down the bytes are found; 0 is the image itself
 * @param present whether a layer says anything about them
 * @param zero whether they are known to be zero
 * @param data whether host space is theirs
 * @param offset where they are as they are in {@code file}, or -1
 * @param file name of the file that holds them; empty without an offset
 */
record MapEntry(
    long start,
    long length,
    int depth,
    boolean present,
    boolean zero,
    boolean data,
    long offset,
    String file) {

  /** What stands for an empty range. */
  static MapEntry nothing(long start) {
    return new MapEntry(start, 0, 0, false, false, false, -1, "");
  }

  /** Whether {@code next}, which follows on the guest's side, is more of the same. */
  boolean goesOnAs(MapEntry next) {
    return depth == next.depth
        && present == next.present
        && zero == next.zero
        && data == next.data
        && (offset < 0 ? next.offset < 0 : next.offset == offset + length)
        && file.equals(next.file);
  }

  MapEntry with(long more) {
    return new MapEntry(start, length + more, depth, present, zero, data, offset, file);
  }
}
