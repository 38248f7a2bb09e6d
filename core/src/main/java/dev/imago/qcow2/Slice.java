package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.L2Entry;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * A cached piece of an L2 table or refcount block. Words and entries are read without a lock; they
 * are changed, and the flags used, under the image's metadata lock.
 *
 * <p>An extended L2 entry has two words, which belong together. Whoever changes one counts {@link
 * #changes} up before and after; a reader that saw it odd, or saw it move, looks again. See
 * docs/locking.md.
 */
final class Slice {
  private static final VarHandle WORDS = MethodHandles.arrayElementVarHandle(long[].class);
  private static final VarHandle CHANGES;
  private static final int SPINS = 100;

  static {
    try {
      CHANGES = MethodHandles.lookup().findVarHandle(Slice.class, "changes", int.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /** Which entry of the pointer table leads to the cluster that this is a piece of. */
  final int table;

  /** Which piece of that cluster. */
  final int index;

  private final long[] words;
  private final boolean pairs;

  /** Odd while an entry of two words is being changed. */
  @SuppressWarnings("unused") // by CHANGES
  private int changes;

  /** Changed since it was sealed last. */
  boolean dirty;

  /** A sealed copy is on its way to the disk, which therefore may still hold older bytes. */
  boolean sealed;

  /** Whether it is still in the cache. */
  boolean resident = true;

  /** Looked up since the cache last passed by for something to throw out. */
  boolean recent = true;

  /**
   * A piece that is not in the cache yet.
   *
   * @param pairs whether two words make an entry
   */
  Slice(int table, int index, long[] words, boolean pairs) {
    this.table = table;
    this.index = index;
    this.words = words;
    this.pairs = pairs;
  }

  long word(int i) {
    return (long) WORDS.getAcquire(words, i);
  }

  void set(int i, long word) {
    WORDS.setRelease(words, i, word);
  }

  /** An L2 entry as it was at one moment. */
  @SuppressWarnings("ThreadPriorityCheck") // a wait for memory work: nothing relies on the yield
  L2Entry entry(int i) {
    if (!pairs) {
      return new L2Entry(word(i), 0);
    }
    for (int spins = 0; ; spins++) {
      int before = (int) CHANGES.getAcquire(this);
      long descriptor = word(2 * i);
      long bitmap = word(2 * i + 1);
      VarHandle.acquireFence();
      if ((before & 1) == 0 && (int) CHANGES.getOpaque(this) == before) {
        return new L2Entry(descriptor, bitmap);
      }
      // The changing thread does memory work only, but the host may have stopped it.
      if (spins < SPINS) {
        Thread.onSpinWait();
      } else {
        Thread.yield();
      }
    }
  }

  void set(int i, L2Entry entry) {
    if (!pairs) {
      set(i, entry.descriptor());
      return;
    }
    int before = (int) CHANGES.getOpaque(this);
    CHANGES.setOpaque(this, before + 1);
    VarHandle.fullFence();
    set(2 * i, entry.descriptor());
    set(2 * i + 1, entry.bitmap());
    CHANGES.setRelease(this, before + 2);
  }

  long[] copy() {
    return words.clone();
  }
}
