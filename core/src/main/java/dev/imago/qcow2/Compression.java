package dev.imago.qcow2;

/**
 * How clusters are compressed.
 *
 * @param level as zlib and zstd count: 1 is fast, 9 and 22 make the least; -1 is the codec's usual
 * @param shortWindow for deflate alone: whether no match may lie more than 4 KiB back, for readers
 *     that keep no more than that
 * @param portable whether the same bytes must become the same on every processor
 */
record Compression(int level, boolean shortWindow, boolean portable) {
  static final Compression USUAL = new Compression(-1, false, false);
}
