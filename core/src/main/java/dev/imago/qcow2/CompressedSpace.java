package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Finds places for compressed clusters: in what room earlier host clusters have left, else one
 * behind the other, several to a host cluster, each of which counts one reference for every
 * compressed cluster that touches it.
 *
 * <p>Spec: qcow2 digest, 12.4.
 */
final class CompressedSpace {
  private static final int SECTOR = 512;

  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final Allocator allocator;
  private final CompressedPlaces places;

  /** One place is looked for at a time, so that threads do not each begin a cluster. */
  private final ReentrantLock placing = new ReentrantLock();

  CompressedSpace(Metadata metadata) {
    this.metadata = metadata.lock;
    this.geometry = metadata.geometry;
    this.storage = metadata.storage;
    this.allocator = metadata.allocator;
    this.places = metadata.places;
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
      long hostOffset = fill(length);
      hostOffset = hostOffset >= 0 ? hostOffset : append(length);
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

  /** Room that an earlier host cluster had left, or -1. */
  private long fill(int length) throws IOException {
    CompressedPlaces.At gap = place(() -> places.gap(length));
    if (gap == null || !share(gap, length)) {
      return -1;
    }
    change(() -> places.fill(gap, length));
    return gap.hostOffset();
  }

  /** Room behind the last compressed cluster, or -1. */
  private long append(int length) throws IOException {
    CompressedPlaces.At tail = place(places::tail);
    if (tail == null) {
      return -1;
    }
    long hostOffset = tail.hostOffset();
    long last = geometry.clusterIndex(hostOffset + length - 1);
    boolean crosses = last != geometry.clusterIndex(hostOffset);
    if (crosses && !allocator.takeExactly(last)) {
      return -1;
    }
    boolean shares = false;
    try {
      if (crosses) {
        growOver(last);
      }
      shares = share(tail, length);
    } finally {
      if (crosses && !shares) {
        allocator.giveBack(last, 1);
      }
    }
    if (!shares) {
      return -1;
    }
    change(
        () -> {
          // Given up meanwhile, it stays so.
          if (places.has(tail)) {
            places.moveTail(hostOffset + length);
          }
        });
    return hostOffset;
  }

  /** Counts one more compressed cluster to a place's host cluster; whether it can be there. */
  private boolean share(CompressedPlaces.At place, int length) throws IOException {
    boolean can =
        place.hostOffset() + length <= geometry.compressedLimit() && allocator.addReference(place);
    if (!can) {
      change(() -> places.giveUp(place));
    }
    return can;
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
    change(() -> places.beginTail(hostOffset + length));
    return hostOffset;
  }

  private CompressedPlaces.@Nullable At place(Supplier<CompressedPlaces.@Nullable At> which) {
    metadata.lock();
    try {
      return which.get();
    } finally {
      metadata.unlock();
    }
  }

  private void change(Runnable change) {
    metadata.lock();
    try {
      change.run();
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
