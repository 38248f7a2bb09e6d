package dev.imago.qcow2;

import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.StorageIoException;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * The saved state of a virtual machine: bytes that the L1 table maps behind the end of the disk,
 * from the first L2 table on that no guest offset needs. A snapshot keeps them with the disk.
 */
final class VmState {
  private final Metadata metadata;
  private final Geometry geometry;
  private final GuestReader reader;
  private final ClusterWriter writer;
  private final Resizer resizer;

  VmState(Metadata metadata, GuestReader reader, ClusterWriter writer, Resizer resizer) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.reader = reader;
    this.writer = writer;
    this.resizer = resizer;
  }

  private long start() {
    return geometry.l1Entries(metadata.size()) * geometry.l2Coverage();
  }

  /** How many bytes there can be. */
  private long limit() {
    long tables = Geometry.MAX_L1_ENTRIES - geometry.l1Entries(metadata.size());
    return Math.min(tables, (Long.MAX_VALUE - start()) / geometry.l2Coverage())
        * geometry.l2Coverage();
  }

  /** Fills a buffer; what was never written is zero. */
  void read(ByteBuffer dst, long offset) throws IOException {
    metadata.data.event(BlockEvent.VMSTATE_LOAD);
    long mapped = metadata.l1.length() * geometry.l2Coverage() - start();
    int there = Math.clamp(mapped - offset, 0, dst.remaining());
    int end = dst.limit();
    if (there > 0) {
      reader.read(dst.limit(dst.position() + there), start() + offset);
    }
    GuestReader.zero(dst.limit(end));
  }

  /** Refuses what cannot be written anywhere. */
  void requirePossible(int length, long offset) throws IOException {
    if (metadata.data != metadata.storage) {
      throw new UnsupportedFeatureException(
          metadata.name,
          -1,
          "machine state",
          "it would have to lie in the data file, behind the end of the disk",
          "convert the image to one without a data file");
    }
    if (offset > limit() - length) {
      throw new StorageIoException(
          metadata.name,
          "File too large",
          "%d bytes of machine state at %d; %d can be mapped".formatted(length, offset, limit()),
          -1);
    }
  }

  /** Writes whole clusters, for what lies behind the end of the disk is zero to all other ways. */
  void write(ByteBuffer src, long offset) throws IOException {
    if (!src.hasRemaining()) {
      return;
    }
    metadata.data.event(BlockEvent.VMSTATE_SAVE);
    long at = start() + offset;
    long tables = geometry.l1Index(at + src.remaining() - 1) + 1;
    if (tables > metadata.l1.length()) {
      resizer.growL1(tables);
    }
    int end = src.limit();
    while (src.position() < end) {
      int within = (int) geometry.inCluster(at);
      int whole = src.remaining() / geometry.clusterSize() * geometry.clusterSize();
      boolean aligned = within == 0 && whole > 0;
      int step = aligned ? whole : Math.min(src.remaining(), geometry.clusterSize() - within);
      src.limit(src.position() + step);
      writer.write(new ByteBuffer[] {aligned ? src : patched(src, at, within)}, at - within);
      src.position(src.limit());
      src.limit(end);
      at += step;
    }
  }

  /** A cluster with some new bytes. */
  private ByteBuffer patched(ByteBuffer src, long at, int within) throws IOException {
    ByteBuffer cluster = ByteBuffer.allocateDirect(geometry.clusterSize());
    reader.read(cluster, at - within);
    return cluster.put(within, src, src.position(), src.remaining()).flip();
  }
}
