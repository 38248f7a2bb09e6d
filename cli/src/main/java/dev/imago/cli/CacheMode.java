package dev.imago.cli;

import dev.imago.image.SyncMode;
import org.jspecify.annotations.Nullable;

/**
 * QEMU's words for how much the host's cache is trusted.
 *
 * @param direct whether files are read and written past the host's cache
 * @param sync how hard flushed data is kept
 */
record CacheMode(boolean direct, SyncMode sync) {

  /** What every command but convert uses. */
  static final CacheMode WRITEBACK = new CacheMode(false, SyncMode.FULL);

  /** What convert uses for its target, which can be made again. */
  static final CacheMode UNSAFE = new CacheMode(false, SyncMode.NONE);

  /**
   * The mode of that name, or null. Every command here flushes before it ends, so that it makes no
   * difference whether each write is flushed too.
   */
  static @Nullable CacheMode of(String name) {
    return switch (name) {
      case "none", "off", "directsync" -> new CacheMode(true, SyncMode.FULL);
      case "writeback", "writethrough" -> WRITEBACK;
      case "unsafe" -> UNSAFE;
      default -> null;
    };
  }

  /** The mode of an image that is only read. */
  static CacheMode source(String name) throws Failure {
    CacheMode mode = of(name);
    if (mode == null) {
      throw new Failure("Invalid source cache option: " + name);
    }
    return mode;
  }

  /** The mode of an image that is written. */
  static CacheMode target(String name) throws Failure {
    CacheMode mode = of(name);
    if (mode == null) {
      throw new Failure("Invalid cache option: " + name);
    }
    return mode;
  }
}
