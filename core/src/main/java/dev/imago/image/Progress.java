package dev.imago.image;

/** Told how far a long operation is. Called from the operation's threads, one at a time. */
@FunctionalInterface
public interface Progress {
  /** Tells nobody. */
  Progress NONE = (done, total) -> {};

  /**
   * Called now and then, and at the end with {@code done == total}.
   *
   * @param done units of work done, never less than before
   * @param total units in all
   */
  void at(long done, long total);
}
