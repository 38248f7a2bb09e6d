package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Reads cluster 0 from a storage. */
final class HeaderReader {
  private HeaderReader() {}

  /** Reads and judges cluster 0 as {@link HeaderCluster#parse} does. */
  static HeaderCluster read(Storage storage) throws IOException {
    return HeaderCluster.parse(cluster0(storage), storage.name());
  }

  /** As {@link #read}, but lets an image without a refcount table through. */
  static HeaderCluster readForCheck(Storage storage) throws IOException {
    return HeaderCluster.parseForCheck(cluster0(storage), storage.name());
  }

  private static ByteBuffer cluster0(Storage storage) throws IOException {
    long size = storage.size();
    ByteBuffer first = ByteBuffer.allocate((int) Math.min(size, HeaderCluster.PROBE_BYTES));
    storage.read(first, 0);
    int clusterSize = HeaderCluster.clusterSize(first.flip(), storage.name());
    ByteBuffer whole = ByteBuffer.allocate((int) Math.min(size, clusterSize));
    whole.put(first);
    storage.read(whole, whole.position());
    return whole.flip();
  }
}
