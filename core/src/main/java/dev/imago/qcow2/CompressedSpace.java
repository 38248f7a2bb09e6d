package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Finds places for compressed clusters: one behind the other, several to a host cluster, each of
 * which counts one reference for every compressed cluster that touches it.
 *
 * <p>Spec: qcow2 digest, 12.4.
 */
final class CompressedSpace {
  private static final int SECTOR = 512;

  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final Allocator allocator;
  private final CompressedTail tail;

  /** One place is looked for at a time, so that threads do not each begin a cluster. */
  private final ReentrantLock placing = new ReentrantLock();

  CompressedSpace(Metadata metadata) {
    this.metadata = metadata.lock;
    this.geometry = metadata.geometry;
    this.storage = metadata.storage;
    this.allocator = metadata.allocator;
    this.tail = metadata.tail;
  }

  /**
   * Takes room for one compressed cluster, counted but linked to by nothing.
   *
   * @param length of the compressed bytes: at least 1, less than a cluster
   * @return the host offset; -1 if a descriptor cannot say it
   */
  long take(int length) throws IOException {
    placing.lock();
    try {
      long hostOffset = append(length);
      return hostOffset >= 0 ? hostOffset : begin(length);
    } finally {
      placing.unlock();
    }
  }

  /** Gives room back that nothing was linked to. */
  void giveBack(long hostOffset, int length) throws IOException {
    long first = geometry.clusterIndex(hostOffset);
    long last = geometry.clusterIndex(hostOffset + length - 1);
    allocator.giveBack(first, last - first + 1);
  }

  /** Room behind the last compressed cluster, or -1. */
  private long append(int length) throws IOException {
    CompressedTail.At place = tail();
    if (place == null || place.hostOffset() + length > geometry.compressedLimit()) {
      return -1;
    }
    if (!allocator.addReference(place)) {
      return -1;
    }
    long hostOffset = place.hostOffset();
    long cluster = geometry.clusterIndex(hostOffset);
    long last = geometry.clusterIndex(hostOffset + length - 1);
    if (last != cluster) {
      boolean follows = false;
      try {
        follows = allocator.takeExactly(last);
        if (follows) {
          growOver(last);
        }
      } catch (IOException | RuntimeException e) {
        allocator.giveBack(cluster, follows ? 2 : 1);
        throw e;
      }
      if (!follows) {
        allocator.giveBack(cluster, 1);
        return -1;
      }
    }
    moveTo(place, hostOffset + length);
    return hostOffset;
  }

  /** Room in a cluster of its own. */
  private long begin(int length) throws IOException {
    Allocator.Taken taken = allocator.take(1);
    long hostOffset = geometry.clusterOffset(taken.firstCluster());
    if (hostOffset + length > geometry.compressedLimit()) {
      allocator.giveBack(taken.firstCluster(), 1);
      return -1;
    }
    try {
      growOver(taken.firstCluster());
    } catch (IOException | RuntimeException e) {
      allocator.giveBack(taken.firstCluster(), 1);
      throw e;
    }
    moveTo(null, hostOffset + length);
    return hostOffset;
  }

  private CompressedTail.@Nullable At tail() {
    metadata.lock();
    try {
      return tail.at();
    } finally {
      metadata.unlock();
    }
  }

  /** The next goes there, unless the place that this one follows was given up meanwhile. */
  private void moveTo(CompressedTail.@Nullable At from, long hostOffset) {
    metadata.lock();
    try {
      if (from == null || tail.isAt(from)) {
        tail.moveTo(hostOffset);
      }
    } finally {
      metadata.unlock();
    }
  }

  /**
   * Compressed bytes may end anywhere, and a file that ends there has no whole last sector. Done
   * before anybody else can write to the cluster.
   */
  private void growOver(long cluster) throws IOException {
    long end = geometry.clusterOffset(cluster + 1);
    if (end > storage.size()) {
      storage.writeZeroes(end - SECTOR, SECTOR, Storage.ZeroMode.SPARSE);
    }
  }
}
