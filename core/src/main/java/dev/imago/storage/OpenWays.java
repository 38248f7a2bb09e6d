package dev.imago.storage;

import dev.imago.internal.LinuxFile;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Which files this JVM has open, and which way: by system calls or by the platform's classes. One
 * file is open one way at a time, whatever is asked for later, because closing any descriptor of a
 * file drops the POSIX locks that the platform's way relies on ({@link ProcessLocks}).
 */
final class OpenWays {
  private static final Map<Key, Way> WAYS = new HashMap<>();

  private OpenWays() {}

  /**
   * What the system knows a file by.
   *
   * @param device as in stat's st_dev
   */
  record Key(long device, long inode) {

    // By hand: the JVM would spin classes for them, which shows in the start-up of short commands.
    @Override
    public boolean equals(@Nullable Object other) {
      return other instanceof Key key && device == key.device && inode == key.inode;
    }

    @Override
    public int hashCode() {
      return 31 * Long.hashCode(inode) + Long.hashCode(device);
    }

    /** With the two parts of the device number put together as the C library does. */
    static Key of(LinuxFile.Stat stat) {
      long major = stat.deviceMajor();
      long minor = stat.deviceMinor();
      long device =
          (major & 0xfffff000L) << 32
              | (major & 0xfffL) << 8
              | (minor & 0xffffff00L) << 12
              | minor & 0xffL;
      return new Key(device, stat.inode());
    }
  }

  private static final class Way {
    private final boolean byCalls;
    private int storages;

    Way(boolean byCalls) {
      this.byCalls = byCalls;
    }
  }

  /** One storage's entry. */
  static final class Ticket implements AutoCloseable {
    private final boolean byCalls;
    private @Nullable Key key;

    private Ticket(boolean byCalls, @Nullable Key key) {
      this.byCalls = byCalls;
      this.key = key;
    }

    /** Whether the file is to be opened by system calls. */
    boolean byCalls() {
      return byCalls;
    }

    /** Says what was opened: a file made just now, or another one than was looked at before. */
    void opened(Key actual) {
      synchronized (WAYS) {
        if (!actual.equals(key)) {
          close();
          key = actual;
          WAYS.computeIfAbsent(actual, _ -> new Way(byCalls)).storages++;
        }
      }
    }

    /** Takes the storage out of the list, after its descriptors are closed. */
    @Override
    public void close() {
      synchronized (WAYS) {
        Way way = key == null ? null : WAYS.get(key);
        if (way != null && --way.storages == 0) {
          WAYS.remove(key);
        }
        key = null;
      }
    }
  }

  /** Decides before a file is opened; {@code key} is null for one that is yet to be made. */
  static Ticket enter(@Nullable Key key, boolean preferCalls) {
    synchronized (WAYS) {
      if (key == null) {
        return new Ticket(preferCalls, null);
      }
      Way way = WAYS.computeIfAbsent(key, _ -> new Way(preferCalls));
      way.storages++;
      return new Ticket(way.byCalls, key);
    }
  }
}
