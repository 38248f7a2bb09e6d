package dev.imago.storage;

import dev.imago.internal.LinuxFile;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * How a file is written by way of the page cache: in pieces, and long writes one at a time and into
 * blocks that they have of their own. File systems see to one at a time themselves, but there the
 * threads that wait keep their processors busy: a sixth of a conversion's time.
 */
final class CachedWrites {
  /** From this many bytes on a write is worth being waited for asleep. */
  private static final int LONG = 128 << 10;

  /**
   * What is written at a time. File systems take pages for it in runs as long as the write, and
   * where memory has been handed out and back for a while, runs of 1 MiB cost up to six times the
   * processor time of these (docs/performance.md); of 64 KiB, a tenth more.
   */
  private static final int PIECE = 256 << 10;

  /** Ext2, ext3 and ext4, to {@link LinuxFile#fileSystemType}; the first two then say no. */
  private static final long EXT4 = 0xef53;

  private final LinuxFile file;
  private final ReentrantLock turn = new ReentrantLock();

  /** Whether blocks are asked for; null before the first long write. Belongs to {@link #turn}. */
  private @Nullable Boolean reserves;

  CachedWrites(LinuxFile file) {
    this.file = file;
  }

  /**
   * Waits for its turn to write so many bytes, if they are many.
   *
   * @return whether {@link #end} must follow
   */
  boolean begin(long length) {
    boolean takes = length >= LONG;
    if (takes) {
      turn.lock();
    }
    return takes;
  }

  /**
   * Asks for a long write's blocks at once, in its turn. Ext4 otherwise promises each block of 4
   * KiB by itself as it is written, and keeps a record of each: a tenth of a conversion's processor
   * time. Other file systems do not gain by it, and some lose (tmpfs clears the pages, Btrfs stops
   * to compress them): docs/decisions/0044. Whether it works does not matter, as the write says
   * what is wrong.
   */
  void reserve(long at, long length) {
    if (reserves == null) {
      reserves = file.fileSystemType() == EXT4;
    }
    if (reserves && file.fallocate(LinuxFile.KEEP_SIZE, at, length) == -LinuxFile.EOPNOTSUPP) {
      reserves = false;
    }
  }

  void end() {
    turn.unlock();
  }

  /** How much is written at a time from an offset on: up to the next multiple of a piece. */
  static int piece(long at) {
    return PIECE - (int) (at & PIECE - 1);
  }
}
