package dev.imago.qcow2;

import dev.imago.image.UnsupportedFeatureException;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.BlockEvent;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * Writes compressed clusters. Encoding takes no lock. A cluster that does not become shorter is
 * written as it is.
 *
 * <p>Spec: qcow2 digest, 6.3 and 12.4.
 */
final class CompressedWriter implements AutoCloseable {
  private final Metadata metadata;
  private final Geometry geometry;
  private final ClusterWriter writer;
  private final ClusterCodec codec;
  private final CompressedSpace space;

  /** Memory for encoded clusters: as many as threads have used at once. */
  private final ConcurrentLinkedQueue<Buffers.Lease> idle = new ConcurrentLinkedQueue<>();

  private volatile boolean closed;

  CompressedWriter(Metadata metadata, ClusterWriter writer, ClusterCodec codec) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.writer = writer;
    this.codec = codec;
    this.space = new CompressedSpace(metadata);
  }

  /** Refuses images that cannot hold compressed clusters. */
  void requirePossible() throws UnsupportedFeatureException {
    if (geometry.externalData()) {
      throw new UnsupportedFeatureException(
          metadata.name,
          Header.AT_INCOMPATIBLE,
          "compressed clusters",
          "none are allowed in an image with a data file");
    }
    if (metadata.header().cryptMethod() != 0) {
      throw new UnsupportedFeatureException(
          metadata.name,
          -1,
          "compressed clusters",
          "none are written to an encrypted image, as they would not be encrypted");
    }
  }

  /**
   * Encoded clusters that follow one another.
   *
   * @param plain the clusters as they were
   * @param bytes the encoded clusters, one behind the other
   * @param lengths of each; 0 for one that is stored as it is
   */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  record Encoded(long guestOffset, ByteBuffer plain, Buffers.Lease bytes, int[] lengths) {}

  /** Takes the memory of encoded clusters back; they must not be used any more. */
  void done(Encoded encoded) {
    idle.add(encoded.bytes);
    if (closed) {
      giveBackMemory();
    }
  }

  /** Gives all memory back: the pool has few buffers of a size, and others want them. */
  @Override
  public void close() {
    closed = true;
    giveBackMemory();
  }

  private void giveBackMemory() {
    Buffers.Lease lease = idle.poll();
    while (lease != null) {
      lease.close();
      lease = idle.poll();
    }
  }

  private Buffers.Lease memory(int length) {
    Buffers.Lease lease = idle.poll();
    if (lease != null && lease.buffer().capacity() >= length) {
      return lease;
    }
    if (lease != null) {
      lease.close();
    }
    return Buffers.take(length);
  }

  /** Encodes a range of whole clusters; the last may end with the disk. */
  Encoded encode(ByteBuffer src, long guestOffset) throws IOException {
    ByteBuffer plain = src.slice();
    src.position(src.limit());
    int size = geometry.clusterSize();
    int[] lengths = new int[(int) geometry.clusters(plain.remaining())];
    Buffers.Lease lease = memory(Math.max(1, lengths.length * size));
    try {
      ByteBuffer encoded = lease.buffer().clear();
      for (int i = 0; i < lengths.length; i++) {
        int start = encoded.position();
        int from = i * size;
        ByteBuffer cluster = plain.slice(from, Math.min(size, plain.limit() - from));
        encoded.limit(start + size - 1);
        if (encode(cluster, encoded)) {
          lengths[i] = encoded.position() - start;
        } else {
          encoded.position(start);
        }
      }
      return new Encoded(guestOffset, plain, lease, lengths);
    } catch (IOException | RuntimeException e) {
      lease.close();
      throw e;
    }
  }

  private boolean encode(ByteBuffer cluster, ByteBuffer encoded) throws IOException {
    int size = geometry.clusterSize();
    if (cluster.isDirect() && cluster.remaining() == size) {
      return codec.encode(cluster.duplicate(), encoded);
    }
    try (Buffers.Lease whole = Buffers.take(size)) {
      whole.buffer().put(cluster.duplicate());
      Buffers.zero(whole.buffer());
      return codec.encode(whole.buffer().flip(), encoded);
    }
  }

  /** Stores clusters, one by one. */
  void write(Encoded encoded) throws IOException {
    int from = 0;
    for (int i = 0; i < encoded.lengths.length; i++) {
      long guestOffset = encoded.guestOffset + geometry.clusterOffset(i);
      int length = encoded.lengths[i];
      if (length == 0 || !write(encoded.bytes.buffer().slice(from, length), guestOffset)) {
        int start = (int) geometry.clusterOffset(i);
        int end = Math.min(start + geometry.clusterSize(), encoded.plain.limit());
        ByteBuffer plain = encoded.plain.slice(start, end - start);
        writer.write(new ByteBuffer[] {plain}, guestOffset);
      }
      from += length;
    }
  }

  /** Stores one cluster; says whether there is a place that a descriptor can name. */
  private boolean write(ByteBuffer bytes, long guestOffset) throws IOException {
    int length = bytes.remaining();
    try (Claims.Claim _ = writer.claim(guestOffset, 1)) {
      int index = geometry.entryInSlice(guestOffset);
      writer.requireValid(metadata.writableSlice(guestOffset), guestOffset, index, index);
      metadata.storage.event(BlockEvent.CLUSTER_ALLOC_BYTES);
      long hostOffset = space.take(length);
      if (hostOffset < 0) {
        return false;
      }
      try {
        metadata.requireNoOverlap(hostOffset, length);
        metadata.storage.event(BlockEvent.WRITE_COMPRESSED);
        metadata.storage.write(bytes, hostOffset);
        metadata.durability.dataWritten();
        metadata.storage.event(BlockEvent.L2_UPDATE_COMPRESSED);
        link(guestOffset, index, new L2Entry(geometry.compressedEntry(hostOffset, length), 0));
        return true;
      } catch (IOException | RuntimeException e) {
        giveBack(hostOffset, length, e);
        throw e;
      }
    }
  }

  private void link(long guestOffset, int index, L2Entry entry) throws IOException {
    while (true) {
      Slice slice = metadata.writableSlice(guestOffset);
      metadata.lock.lock();
      try {
        if (slice.resident) {
          metadata.replace(slice, index, entry, geometry.clusterIndex(guestOffset));
          return;
        }
      } finally {
        metadata.lock.unlock();
      }
    }
  }

  private void giveBack(long hostOffset, int length, Exception reason) {
    try {
      space.giveBack(hostOffset, length);
    } catch (IOException e) {
      reason.addSuppressed(e);
    }
  }
}
