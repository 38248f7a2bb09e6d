package dev.imago.qcow2;

import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * Reads compressed clusters, and keeps the last ones inflated, so that small reads do not inflate a
 * cluster again and again. Safe for many threads. No lock is held while inflating; who wants a
 * cluster that another thread is inflating just now waits for it.
 *
 * <p>Clusters are known by their L2 entry, which says where their bytes are. Before host clusters
 * are used for something else, {@link #forget} is called; no request that knows such an entry is
 * under way then.
 */
final class InflatedClusters {
  private static final int KEPT_BYTES = 8 << 20;
  private static final int LEAST_KEPT = 2;

  private final Storage storage;
  private final Geometry geometry;
  private final ClusterCodec codec;
  private final int most;

  /** By L2 entry, the one used longest ago first. Its own monitor guards it, as all below. */
  private final Map<Long, Cluster> kept;

  /**
   * Buffers of clusters that are kept no longer, to be filled again: memory that nobody has touched
   * yet can cost more than inflating. Never more than clusters are kept.
   */
  private final Deque<ByteBuffer> idle = new ArrayDeque<>();

  /** A cluster that is being inflated, or was. */
  private static final class Cluster {
    final CompletableFuture<ByteBuffer> bytes = new CompletableFuture<>();

    /** Who inflates it, waits for it or copies from it just now: its buffer stays as it is. */
    int users;

    boolean kept = true;
  }

  /** A compressed cluster that cannot be inflated. */
  static final class BadClusterException extends IOException {
    private static final long serialVersionUID = 1L;

    private BadClusterException(String message, IOException cause) {
      super(message, cause);
    }
  }

  InflatedClusters(Storage storage, Geometry geometry, ClusterCodec codec) {
    this.storage = storage;
    this.geometry = geometry;
    this.codec = codec;
    this.most = Math.max(LEAST_KEPT, KEPT_BYTES >>> geometry.clusterBits());
    this.kept =
        new LinkedHashMap<>(16, 0.75f, true) {
          private static final long serialVersionUID = 1L;

          @Override
          protected boolean removeEldestEntry(Map.Entry<Long, Cluster> eldest) {
            boolean tooMany = size() > most;
            if (tooMany) {
              drop(eldest.getValue());
            }
            return tooMany;
          }
        };
  }

  /** The name of the encoding. */
  String encoding() {
    return codec.encoding();
  }

  /**
   * Fills a buffer from one cluster. Whole clusters are inflated where they are wanted, and not
   * kept.
   *
   * @param entry its L2 entry
   * @param from where in the cluster to begin
   */
  void read(ByteBuffer dst, long entry, int from, long guestOffset) throws IOException {
    boolean mine = false;
    Cluster cluster;
    synchronized (kept) {
      cluster = kept.get(entry);
      if (cluster == null && dst.remaining() < geometry.clusterSize()) {
        mine = true;
        cluster = new Cluster();
        kept.put(entry, cluster);
      }
      if (cluster != null) {
        cluster.users++;
      }
    }
    if (cluster == null) {
      inflate(dst, entry, guestOffset);
      return;
    }
    try {
      copy(mine ? inflateFor(cluster, entry, guestOffset) : await(cluster.bytes), from, dst);
    } finally {
      leave(cluster);
    }
  }

  /** As {@link #read} if the cluster is at hand; otherwise false, and nothing is done. */
  boolean readNow(ByteBuffer dst, long entry, int from) {
    Cluster cluster;
    synchronized (kept) {
      cluster = kept.get(entry);
      if (cluster == null || !cluster.bytes.isDone() || cluster.bytes.isCompletedExceptionally()) {
        return false;
      }
      cluster.users++;
    }
    try {
      copy(cluster.bytes.join(), from, dst);
    } finally {
      leave(cluster);
    }
    return true;
  }

  private void leave(Cluster cluster) {
    synchronized (kept) {
      cluster.users--;
      reuse(cluster);
    }
  }

  /** A cluster is kept no longer. In the monitor. */
  private void drop(Cluster cluster) {
    cluster.kept = false;
    reuse(cluster);
  }

  /** Lets a cluster's buffer be filled again if nobody can see it any more. In the monitor. */
  private void reuse(Cluster cluster) {
    CompletableFuture<ByteBuffer> bytes = cluster.bytes;
    if (!cluster.kept
        && cluster.users == 0
        && !bytes.isCompletedExceptionally()
        && idle.size() < most) {
      idle.push(bytes.join());
    }
  }

  private static void copy(ByteBuffer cluster, int from, ByteBuffer dst) {
    int length = dst.remaining();
    dst.put(dst.position(), cluster, from, length);
    dst.position(dst.position() + length);
  }

  private ByteBuffer inflateFor(Cluster cluster, long entry, long guestOffset) throws IOException {
    try {
      ByteBuffer bytes;
      synchronized (kept) {
        bytes = idle.poll();
      }
      if (bytes == null) {
        bytes = Buffers.make(geometry.clusterSize());
      }
      inflate(bytes.clear(), entry, guestOffset);
      cluster.bytes.complete(bytes);
      return bytes;
    } catch (IOException | RuntimeException | Error e) {
      synchronized (kept) {
        kept.remove(entry, cluster);
        cluster.kept = false;
      }
      cluster.bytes.completeExceptionally(e);
      throw e;
    }
  }

  /** An interrupt does not end the wait; the thread's status is kept. */
  private static ByteBuffer await(CompletableFuture<ByteBuffer> cluster) throws IOException {
    try {
      return cluster.join();
    } catch (CompletionException e) {
      if (e.getCause() instanceof IOException failure) {
        throw new IOException(failure.getMessage(), failure);
      }
      throw e;
    }
  }

  /**
   * Called before host clusters may be used for something else.
   *
   * @param runs pairs of first cluster and count
   */
  void forget(List<long[]> runs) {
    synchronized (kept) {
      if (kept.isEmpty()) {
        return;
      }
      NavigableMap<Long, Long> ends = union(runs);
      kept.entrySet()
          .removeIf(
              each -> {
                boolean touched = touches(ends, each.getKey());
                if (touched) {
                  drop(each.getValue());
                }
                return touched;
              });
    }
  }

  /** Runs that do not overlap, as the cluster behind the last by the first. */
  private static NavigableMap<Long, Long> union(List<long[]> runs) {
    List<long[]> sorted = new ArrayList<>(runs);
    sorted.sort(Comparator.comparingLong(run -> run[0]));
    NavigableMap<Long, Long> ends = new TreeMap<>();
    long start = -1;
    long end = -1;
    for (long[] run : sorted) {
      if (run[0] > end) {
        start = run[0];
        end = start;
      }
      end = Math.max(end, run[0] + run[1]);
      ends.put(start, end);
    }
    return ends;
  }

  private boolean touches(NavigableMap<Long, Long> ends, long entry) {
    long hostOffset = geometry.compressedOffset(entry);
    long first = geometry.clusterIndex(hostOffset);
    long last = geometry.clusterIndex(hostOffset + geometry.compressedLength(entry) - 1);
    Map.Entry<Long, Long> run = ends.floorEntry(last);
    return run != null && run.getValue() > first;
  }

  /** Called when somebody else may have changed the image, and at its end. */
  void forgetAll() {
    synchronized (kept) {
      kept.values().forEach(this::drop);
      kept.clear();
      idle.clear();
    }
  }

  private void inflate(ByteBuffer cluster, long entry, long guestOffset) throws IOException {
    try (Buffers.Lease lease = Buffers.take(geometry.compressedLength(entry))) {
      ByteBuffer encoded = lease.buffer();
      storage.event(BlockEvent.READ_COMPRESSED);
      storage.read(encoded, geometry.compressedOffset(entry));
      try {
        codec.decode(encoded.flip(), cluster);
      } catch (IOException e) {
        throw new BadClusterException(
            "%s: compressed cluster at host offset 0x%x, guest offset 0x%x: %s"
                .formatted(
                    storage.name(), geometry.compressedOffset(entry), guestOffset, e.getMessage()),
            e);
      }
    }
  }
}
