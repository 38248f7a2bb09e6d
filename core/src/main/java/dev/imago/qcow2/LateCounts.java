package dev.imago.qcow2;

import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Header;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * Lazy refcounts: whether a flush may leave counts in memory, and whether the disk says that it
 * did.
 *
 * <p>While the header's dirty bit is set, nobody believes the counts on the disk: whoever opens the
 * image for writing counts anew. So the bit is on the disk, behind a barrier, before an entry that
 * leads to an uncounted cluster; and all counts are, before the bit is cleared. Everything happens
 * under {@link Durability}'s flush lock, but for {@link #suspend} and {@link #resume}.
 *
 * <p>Spec: qcow2 digest, 3 and 12.
 */
final class LateCounts {
  private final boolean allowed;
  private final IncompatibleBits bits;
  private volatile boolean suspended;

  /** The disk says that its counts are stale. */
  private boolean told;

  LateCounts(boolean allowed, IncompatibleBits bits) {
    this.allowed = allowed;
    this.bits = bits;
  }

  /**
   * Whether counts may be late in an image.
   *
   * @param asked what the caller wants; null leaves it to the image
   * @throws UnsupportedFeatureException if it is asked of a version 2 image, which cannot say so
   */
  static boolean allowed(String name, Header header, @Nullable Boolean asked)
      throws UnsupportedFeatureException {
    if (header.version() >= 3) {
      boolean usual = (header.compatible() & Header.COMPATIBLE_LAZY_REFCOUNTS) != 0;
      return asked == null ? usual : asked;
    }
    if (asked != null && asked) {
      throw new UnsupportedFeatureException(
          name,
          -1,
          "lazy refcounts",
          "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
    }
    return false;
  }

  /**
   * Whether counts may stay in memory now.
   *
   * @param tableChanged whether the refcount table did: it is never late, so that it always leads
   *     to all blocks, and nothing that it leads to is given back while the disk's still does
   */
  boolean mayWait(boolean tableChanged) {
    return allowed && !suspended && !tableChanged;
  }

  /** Every flush writes counts from now on. For what relies on the disk's counts step by step. */
  void suspend() {
    suspended = true;
  }

  /** Counts may be late again. */
  void resume() {
    suspended = false;
  }

  /** Whether the disk says that its counts are stale, because we made it say so. */
  boolean told() {
    return told;
  }

  /** Has the disk say that its counts are stale. The caller's barrier makes it safe. */
  void tell() throws IOException {
    bits.set(Header.INCOMPATIBLE_DIRTY);
    told = true;
  }

  /** The counts on the disk are right, and safe. */
  void takeBack() throws IOException {
    bits.clear(Header.INCOMPATIBLE_DIRTY);
    told = false;
  }
}
