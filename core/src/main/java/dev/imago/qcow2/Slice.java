package dev.imago.qcow2;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * A cached piece of an L2 table or refcount block. Words are read without a lock; they are changed,
 * and the flags used, under the image's metadata lock.
 */
final class Slice {
  private static final VarHandle WORDS = MethodHandles.arrayElementVarHandle(long[].class);

  /** Which entry of the pointer table leads to the cluster that this is a piece of. */
  final int table;

  /** Which piece of that cluster. */
  final int index;

  private final long[] words;

  /** Changed since it was sealed last. */
  boolean dirty;

  /** A sealed copy is on its way to the disk, which therefore may still hold older bytes. */
  boolean sealed;

  /** Whether it is still in the cache. */
  boolean resident = true;

  /** Looked up since the cache last passed by for something to throw out. */
  boolean recent = true;

  Slice(int table, int index, long[] words) {
    this.table = table;
    this.index = index;
    this.words = words;
  }

  long word(int i) {
    return (long) WORDS.getAcquire(words, i);
  }

  void set(int i, long word) {
    WORDS.setRelease(words, i, word);
  }

  long[] copy() {
    return words.clone();
  }
}
