package dev.imago.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Makes a qcow2 image in which each guest cluster is an extent of its own, and small: the guest's
 * clusters share 1000 host clusters, as those of a deduplicated image would, and no host cluster
 * follows the one of the guest cluster before. Who walks the map reads the same tables as in an
 * image of some 250 GiB.
 *
 * <p>Spec: qcow2.txt, "Header", "Host cluster management", "Cluster mapping".
 */
final class ManyExtents {
  private static final int CLUSTER = 64 << 10;
  private static final int HOST_CLUSTERS = 1000;
  private static final int ENTRIES = CLUSTER / 8;
  private static final long COPIED = 1L << 63;

  private static final int REFCOUNT_TABLE = 1;
  private static final int REFCOUNT_BLOCK = 2;
  private static final int L1_TABLE = 3;
  private static final int L2_TABLES = 4;

  private ManyExtents() {}

  /**
   * Writes the image.
   *
   * @param extents a multiple of 1000, at least 2000 so that each host cluster is shared, and at
   *     most 65,535,000, so that a reference count of 16 bits holds it
   */
  static void write(Path path, int extents) throws IOException {
    int tables = (extents + ENTRIES - 1) / ENTRIES;
    int data = L2_TABLES + tables;
    try (FileChannel channel =
        FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      put(channel, 0, header(extents, tables));
      put(channel, REFCOUNT_TABLE, cluster().putLong((long) REFCOUNT_BLOCK * CLUSTER));
      ByteBuffer counts = cluster();
      for (int i = 0; i < data; i++) {
        counts.putShort((short) 1);
      }
      for (int i = 0; i < HOST_CLUSTERS; i++) {
        counts.putShort((short) (extents / HOST_CLUSTERS));
      }
      put(channel, REFCOUNT_BLOCK, counts);
      ByteBuffer l1 = cluster();
      for (int i = 0; i < tables; i++) {
        l1.putLong((long) (L2_TABLES + i) * CLUSTER | COPIED);
      }
      put(channel, L1_TABLE, l1);
      for (int table = 0; table < tables; table++) {
        ByteBuffer l2 = cluster();
        int first = table * ENTRIES;
        for (int i = first; i < Math.min(first + ENTRIES, extents); i++) {
          l2.putLong((long) (data + HOST_CLUSTERS - 1 - i % HOST_CLUSTERS) * CLUSTER);
        }
        put(channel, L2_TABLES + table, l2);
      }
      for (int i = 0; i < HOST_CLUSTERS; i++) {
        ByteBuffer bytes = cluster();
        while (bytes.hasRemaining()) {
          bytes.put((byte) (1 + i % 255));
        }
        put(channel, data + i, bytes);
      }
    }
  }

  private static ByteBuffer header(int extents, int tables) {
    return cluster()
        .putInt(0x514649fb)
        .putInt(3) // version
        .putLong(0) // no backing file
        .putInt(0)
        .putInt(16) // cluster bits
        .putLong((long) extents * CLUSTER)
        .putInt(0) // not encrypted
        .putInt(tables)
        .putLong((long) L1_TABLE * CLUSTER)
        .putLong((long) REFCOUNT_TABLE * CLUSTER)
        .putInt(1) // cluster of the refcount table
        .putInt(0) // no snapshots
        .putLong(0)
        .putLong(0) // no features: incompatible, compatible, autoclear
        .putLong(0)
        .putLong(0)
        .putInt(4) // counts of 16 bits
        .putInt(104); // length of the header
  }

  private static ByteBuffer cluster() {
    return ByteBuffer.allocate(CLUSTER);
  }

  /** Writes a whole cluster, whatever of it was filled. */
  private static void put(FileChannel channel, int at, ByteBuffer bytes) throws IOException {
    bytes.clear();
    while (bytes.hasRemaining()) {
      channel.write(bytes, (long) at * CLUSTER + bytes.position());
    }
  }
}
