package dev.imago.qcow2;

import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Reads compressed clusters, and keeps the last ones inflated, so that small reads do not inflate a
 * cluster again and again. Safe for many threads; none waits for another's inflating.
 */
final class InflatedClusters {
  private static final int KEPT_BYTES = 8 << 20;
  private static final int LEAST_KEPT = 2;

  private final Storage storage;
  private final Geometry geometry;
  private final ClusterCodec codec;
  private final Map<Long, ByteBuffer> kept;

  InflatedClusters(Storage storage, Geometry geometry, ClusterCodec codec) {
    this.storage = storage;
    this.geometry = geometry;
    this.codec = codec;
    int most = Math.max(LEAST_KEPT, KEPT_BYTES >>> geometry.clusterBits());
    this.kept =
        new LinkedHashMap<>(16, 0.75f, true) {
          private static final long serialVersionUID = 1L;

          @Override
          protected boolean removeEldestEntry(Map.Entry<Long, ByteBuffer> eldest) {
            return size() > most;
          }
        };
  }

  /** The name of the encoding. */
  String encoding() {
    return codec.encoding();
  }

  /**
   * Fills a buffer from one cluster.
   *
   * @param entry its L2 entry
   * @param from where in the cluster to begin
   */
  void read(ByteBuffer dst, long entry, int from, long guestOffset) throws IOException {
    ByteBuffer cluster = find(entry);
    int size = geometry.clusterSize();
    if (cluster == null && dst.remaining() == size) {
      inflate(dst, entry, guestOffset);
      return;
    }
    if (cluster == null) {
      cluster = ByteBuffer.allocate(size);
      inflate(cluster, entry, guestOffset);
      keep(entry, cluster);
    }
    int length = dst.remaining();
    dst.put(dst.position(), cluster, from, length);
    dst.position(dst.position() + length);
  }

  private @Nullable ByteBuffer find(long entry) {
    synchronized (kept) {
      return kept.get(entry);
    }
  }

  private void keep(long entry, ByteBuffer cluster) {
    synchronized (kept) {
      kept.put(entry, cluster);
    }
  }

  /** Called when host clusters may be used for something else. */
  void forget() {
    synchronized (kept) {
      kept.clear();
    }
  }

  private void inflate(ByteBuffer cluster, long entry, long guestOffset) throws IOException {
    try (Buffers.Lease lease = Buffers.take(geometry.compressedLength(entry))) {
      ByteBuffer encoded = lease.buffer();
      storage.read(encoded, geometry.compressedOffset(entry));
      try {
        codec.decode(encoded.flip(), cluster);
      } catch (IOException e) {
        throw new IOException(
            "%s: compressed cluster at host offset 0x%x, guest offset 0x%x: %s"
                .formatted(
                    storage.name(), geometry.compressedOffset(entry), guestOffset, e.getMessage()),
            e);
      }
    }
  }
}
