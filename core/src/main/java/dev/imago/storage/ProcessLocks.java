package dev.imago.storage;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * QEMU's locks without foreign functions: POSIX locks, which belong to the whole process, so that
 * all storages of one file in this JVM share one of these and count. Others' locks are looked up in
 * {@code /proc/locks}; where there is none they are not seen, though ours are seen by them.
 *
 * <p>A process loses its POSIX locks on a file when it closes <em>any</em> descriptor of it. So no
 * descriptor handed in here is closed before the last storage of that file is. What is opened and
 * closed elsewhere in this process can still drop them: that is the weakness of this way.
 */
final class ProcessLocks {
  private static final Map<Object, ProcessLocks> BY_FILE = new HashMap<>();

  private final Object file;
  private final Map<Integer, Held> held = new HashMap<>();
  private final List<RandomAccessFile> open = new ArrayList<>();
  private int storages;

  private ProcessLocks(Object file) {
    this.file = file;
  }

  /** One byte that is locked, and by how many storages. */
  private static final class Held {
    private final @Nullable FileLock lock;
    private int count;

    Held(@Nullable FileLock lock) {
      this.lock = lock;
    }
  }

  /** What one storage holds. */
  final class Share implements QemuLocks.Bytes {
    private final RandomAccessFile descriptor;
    private final long inode;
    private final Set<Integer> mine = new HashSet<>();
    private @Nullable Set<Integer> takenElsewhere;

    private Share(RandomAccessFile descriptor, long inode) {
      this.descriptor = descriptor;
      this.inode = inode;
    }

    @Override
    public boolean lock(int at) throws IOException {
      synchronized (BY_FILE) {
        Held byte_ = held.get(at);
        if (byte_ == null) {
          FileLock lock = null;
          if (inode >= 0) {
            try {
              lock = descriptor.getChannel().tryLock(at, 1, true);
            } catch (OverlappingFileLockException e) {
              return false; // locked by other code of this JVM
            }
            if (lock == null) {
              return false;
            }
          }
          byte_ = new Held(lock);
          held.put(at, byte_);
        }
        byte_.count++;
        mine.add(at);
        return true;
      }
    }

    @Override
    public boolean lockedByOthers(int at) throws IOException {
      synchronized (BY_FILE) {
        Held byte_ = held.get(at);
        if (byte_ != null && byte_.count > (mine.contains(at) ? 1 : 0)) {
          return true;
        }
      }
      if (takenElsewhere == null) {
        takenElsewhere = othersLocks(inode);
      }
      return takenElsewhere.contains(at);
    }

    /** Gives the locks back but keeps the file open. */
    void unlock() throws IOException {
      synchronized (BY_FILE) {
        for (int at : mine) {
          Held byte_ = held.get(at);
          if (byte_ != null && --byte_.count == 0) {
            held.remove(at);
            if (byte_.lock != null) {
              byte_.lock.release();
            }
          }
        }
        mine.clear();
      }
    }

    /** Gives the locks back; the descriptor is closed now or with the file's last storage. */
    void close() throws IOException {
      synchronized (BY_FILE) {
        try {
          unlock();
        } finally {
          if (--storages == 0) {
            BY_FILE.remove(file);
            for (RandomAccessFile each : open) {
              each.close();
            }
          }
        }
      }
    }
  }

  /**
   * Takes a descriptor into care.
   *
   * @param file what this JVM knows the file by, the same for all its names
   * @param inode its number; -1 where locks are not advisory but keep the bytes themselves from
   *     being written (Windows): then only this JVM knows of them
   */
  static Share join(Object file, long inode, RandomAccessFile descriptor) {
    synchronized (BY_FILE) {
      ProcessLocks locks = BY_FILE.computeIfAbsent(file, ProcessLocks::new);
      locks.storages++;
      locks.open.add(descriptor);
      return locks.new Share(descriptor, inode);
    }
  }

  /**
   * The bytes of our file, from 100 to 299, that others have locked. The file is recognised by our
   * own locks in the list, because the device number there need not be the one that stat gives.
   */
  private static Set<Integer> othersLocks(long inode) throws IOException {
    File list = new File("/proc/locks");
    Set<Integer> taken = new HashSet<>();
    if (inode < 0 || !list.exists()) {
      return taken;
    }
    String self = new File("/proc/self").getCanonicalFile().getName();
    List<String[]> locks = new ArrayList<>();
    Set<String> ourFile = new HashSet<>();
    try (FileInputStream in = new FileInputStream(list)) {
      new String(in.readAllBytes(), StandardCharsets.US_ASCII)
          .lines()
          .map(line -> line.strip().split(" +"))
          .filter(
              f -> f.length == 8 && f[5].endsWith(":" + inode)) // f[1] is "->" for one that waits
          .forEach(locks::add);
    }
    for (String[] f : locks) {
      if (f[1].equals("POSIX") && f[4].equals(self)) {
        ourFile.add(f[5]);
      }
    }
    for (String[] f : locks) {
      boolean ours = f[1].equals("POSIX") && f[4].equals(self);
      if (!ours && ourFile.contains(f[5]) && (f[1].equals("POSIX") || f[1].equals("OFDLCK"))) {
        long last = f[7].equals("EOF") ? Long.MAX_VALUE : Long.parseLong(f[7]);
        for (int at = 100; at < 300; at++) {
          if (Long.parseLong(f[6]) <= at && at <= last) {
            taken.add(at);
          }
        }
      }
    }
    return taken;
  }
}
