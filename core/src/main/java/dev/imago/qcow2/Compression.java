package dev.imago.qcow2;

/**
 * How clusters are compressed.
 *
 * @param level as zlib and zstd count: 1 is fast, 9 and 22 make the least; -1 is the codec's usual
 * @param shortWindow for deflate alone: whether no match may lie more than 4 KiB back, for readers
 *     that keep no more than that
 */
record Compression(int level, boolean shortWindow) {
  static final Compression USUAL = new Compression(-1, false);
}
