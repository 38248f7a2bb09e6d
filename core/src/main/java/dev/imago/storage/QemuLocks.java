package dev.imago.storage;

import dev.imago.internal.LinuxFile;
import java.io.IOException;

/**
 * QEMU's advisory locks: one byte for each permission that is used (100 + its bit) and one for each
 * that nobody else may use (200 + its bit), all of them shared locks of the open file. First ours
 * are taken, then the opposite bytes are looked at; so of two that come at the same time at least
 * one sees the other.
 *
 * @param used bits of the permissions in use
 * @param unshared bits of the permissions denied to others
 */
record QemuLocks(int used, int unshared) {

  /** Reads, and expects what it reads to stay. */
  static final QemuLocks READER = new QemuLocks(0b0001, 0b1010);

  /** Reads, writes, resizes, alone. */
  static final QemuLocks WRITER = new QemuLocks(0b1011, 0b1010);

  private static final int USED_BASE = 100;
  private static final int UNSHARED_BASE = 200;
  private static final int BITS = 4;

  /** How one kind of lock is taken and looked at. */
  interface Bytes {
    /** Takes a shared lock; false if an exclusive one is in the way. */
    boolean lock(int at) throws IOException;

    /** Whether anybody but this open file holds a lock there. */
    boolean lockedByOthers(int at) throws IOException;
  }

  /**
   * Takes all locks. If that fails, some may be held: the caller closes the file.
   *
   * @throws StorageLockedException if somebody's locks exclude ours
   */
  void take(String name, Bytes bytes) throws IOException {
    for (int bit = 0; bit < BITS; bit++) {
      if (has(used, bit) && !bytes.lock(USED_BASE + bit)) {
        throw new StorageLockedException(name, word(bit));
      }
    }
    for (int bit = 0; bit < BITS; bit++) {
      if (has(unshared, bit) && !bytes.lock(UNSHARED_BASE + bit)) {
        throw new StorageLockedException(name, "shared " + word(bit));
      }
    }
    for (int bit = 0; bit < BITS; bit++) {
      if (has(used, bit) && bytes.lockedByOthers(UNSHARED_BASE + bit)) {
        throw new StorageLockedException(name, word(bit));
      }
    }
    for (int bit = 0; bit < BITS; bit++) {
      if (has(unshared, bit) && bytes.lockedByOthers(USED_BASE + bit)) {
        throw new StorageLockedException(name, "shared " + word(bit));
      }
    }
  }

  /** Gives back what {@link #take} took. */
  void giveBack(OpenFile file) throws IOException {
    for (int bit = 0; bit < BITS; bit++) {
      if (has(used, bit)) {
        file.unlock(USED_BASE + bit);
      }
      if (has(unshared, bit)) {
        file.unlock(UNSHARED_BASE + bit);
      }
    }
  }

  private static boolean has(int bits, int bit) {
    return (bits >>> bit & 1) != 0;
  }

  private static String word(int bit) {
    return switch (bit) {
      case 0 -> "\"consistent read\"";
      case 1 -> "\"write\"";
      case 2 -> "\"write unchanged\"";
      default -> "\"resize\"";
    };
  }

  private static StorageIoException failed(String name, int at, long result) {
    return new StorageIoException(
        name, "Failed to lock byte " + at + ": " + Errno.text((int) -result));
  }

  /** Open-file-description locks, which belong to one descriptor and not to the process. */
  record OpenFile(String name, LinuxFile file) implements Bytes {
    @Override
    public boolean lock(int at) throws IOException {
      long r = file.lockShared(at);
      if (r < 0 && r != -LinuxFile.EAGAIN && r != -LinuxFile.EACCES) {
        throw failed(name, at, r);
      }
      return r == 0;
    }

    @Override
    public boolean lockedByOthers(int at) throws IOException {
      long r = file.lockedByOthers(at);
      if (r < 0) {
        throw failed(name, at, r);
      }
      return r == 1;
    }

    void unlock(int at) throws IOException {
      long r = file.unlock(at);
      if (r < 0) {
        throw failed(name, at, r);
      }
    }
  }
}
