package dev.imago.testing;

import dev.imago.image.Image;
import dev.imago.image.Snapshot;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;

/**
 * Knows which internal snapshots an image has, and every byte of them. One that is being made or
 * deleted may be there or not; a disk to which one is being applied is the old or the new one.
 */
public final class SnapshotOracle {
  /** Scripts keep no more than this at a time. */
  public static final int MOST = 4;

  private final Map<String, byte[]> disks = new LinkedHashMap<>();
  private byte @Nullable [] creating;
  private @Nullable String deleting;
  private byte @Nullable [] applying;

  /** Opens a snapshot for reading. */
  public interface Opener {
    Image open(String id) throws IOException;
  }

  /** As it is at this moment. */
  public synchronized SnapshotOracle copy() {
    SnapshotOracle copy = new SnapshotOracle();
    copy.disks.putAll(disks);
    copy.creating = creating;
    copy.deleting = deleting;
    copy.applying = applying;
    return copy;
  }

  /** How many there are. */
  synchronized int size() {
    return disks.size();
  }

  /** The id of any of them; null if there is none. */
  synchronized @Nullable String any(RandomGenerator random) {
    List<String> ids = List.copyOf(disks.keySet());
    return ids.isEmpty() ? null : ids.get(random.nextInt(ids.size()));
  }

  /** A snapshot of this disk is about to be made. */
  synchronized void creating(byte[] disk) {
    creating = disk;
  }

  /** It has been made. */
  synchronized void created(String id) {
    byte[] disk = creating;
    if (disk != null) {
      disks.put(id, disk);
    }
    creating = null;
  }

  /** A snapshot is about to be deleted. */
  synchronized void deleting(String id) {
    deleting = id;
  }

  /** It has been deleted. */
  synchronized void deleted() {
    disks.remove(deleting);
    deleting = null;
  }

  /** A snapshot is about to be applied; returns its disk. */
  synchronized byte[] applying(String id) {
    byte[] disk = disks.getOrDefault(id, new byte[0]);
    applying = disk;
    return disk;
  }

  /** It has been applied. */
  synchronized void applied() {
    applying = null;
  }

  /**
   * Reads the disk after a crash, which may have met an apply.
   *
   * @return an oracle that expects exactly what was found
   */
  public ByteOracle verifyDisk(ByteOracle before, Image image) throws IOException {
    byte[] other = applying;
    if (other == null) {
      return before.verifyCrashed(image);
    }
    try {
      return before.verifyCrashed(image);
    } catch (AssertionError e) {
      ByteOracle after = before.copy();
      after.become(other);
      try {
        return after.verifyCrashed(image);
      } catch (AssertionError e2) {
        e2.addSuppressed(e);
        throw new AssertionError("neither the old disk nor the applied snapshot: " + e2, e2);
      }
    }
  }

  /**
   * Reads all snapshots of an image, after a crash or not.
   *
   * @return an oracle that expects exactly what was found
   */
  public SnapshotOracle verify(List<Snapshot> there, Opener opener) throws IOException {
    SnapshotOracle found = new SnapshotOracle();
    List<String> missing = new ArrayList<>(disks.keySet());
    for (Snapshot snapshot : there) {
      byte[] wanted = disks.get(snapshot.id());
      if (wanted == null) {
        wanted = creating;
      }
      if (wanted == null) {
        throw new AssertionError("there should be no " + snapshot);
      }
      if (!Arrays.equals(read(snapshot.id(), opener), wanted)) {
        throw new AssertionError("the bytes of " + snapshot + " are not what they were");
      }
      missing.remove(snapshot.id());
      found.disks.put(snapshot.id(), wanted);
    }
    missing.remove(deleting);
    if (!missing.isEmpty()) {
      throw new AssertionError("lost snapshots: " + missing);
    }
    return found;
  }

  private static byte[] read(String id, Opener opener) throws IOException {
    try (Image image = opener.open(id)) {
      ByteBuffer bytes = ByteBuffer.allocate(Math.toIntExact(image.size()));
      image.read(bytes, 0);
      return bytes.array();
    }
  }
}
