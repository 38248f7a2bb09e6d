package dev.imago.storage;

import java.io.IOException;

/** Another process, or another open storage of this process, holds a lock that excludes ours. */
public final class StorageLockedException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String name;
  private final String lock;

  /**
   * Names what could not be locked.
   *
   * @param name the storage's name
   * @param lock QEMU's word for the permission that is taken: {@code write}, {@code shared
   *     "write"}, {@code consistent read}…
   */
  public StorageLockedException(String name, String lock) {
    super("%s: failed to get %s lock: another process is using it".formatted(name, lock));
    this.name = name;
    this.lock = lock;
  }

  /** The storage's name. */
  public String name() {
    return name;
  }

  /** The lock's name in QEMU's words, quotes included. */
  public String lock() {
    return lock;
  }
}
