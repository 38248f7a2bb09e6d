package dev.imago.qcow2;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.Qcow2CreateOptions.Preallocation;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.ZeroMode;
import java.io.IOException;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Makes a disk larger or smaller. No request is under way meanwhile.
 *
 * <p>Spec: qcow2 digest, 15.1.
 */
final class Resizer {
  private static final int SECTOR = 512;

  private final Metadata metadata;
  private final Geometry geometry;
  private final FixedMappings fixed;
  private final ClusterWriter writer;
  private final @Nullable Image backing;

  Resizer(Metadata metadata, FixedMappings fixed, ClusterWriter writer, @Nullable Image backing) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.fixed = fixed;
    this.writer = writer;
    this.backing = backing;
  }

  /** Refuses what the format cannot do, before anything is touched. */
  void check(long newSize, boolean shrink) throws IOException {
    check(newSize, shrink, metadata.header().version());
  }

  /** As above, for an image that is going to be of this version when it is resized. */
  void check(long newSize, boolean shrink, int version) throws IOException {
    if (newSize < 0 || newSize % SECTOR != 0) {
      throw new IllegalArgumentException("The new size must be a multiple of 512");
    }
    if (newSize < metadata.size() && !shrink) {
      throw new IllegalArgumentException(
          "shrinking from %d to %d bytes would cut data off; it must be asked for"
              .formatted(metadata.size(), newSize));
    }
    if (geometry.l1Entries(newSize) > Geometry.MAX_L1_ENTRIES) {
      throw new IllegalArgumentException(
          "The image size is too large for file format 'qcow2' (try using a larger cluster size)");
    }
    if (version < 3 && metadata.snapshots.count() > 0) {
      throw new UnsupportedFeatureException(
          metadata.name,
          Header.AT_SNAPSHOTS,
          "nb_snapshots",
          "Can't resize a v2 image which has snapshots",
          "delete the snapshots, or convert the image to version 3");
    }
  }

  void resize(long newSize, Preallocation preallocation) throws IOException {
    long oldSize = metadata.size();
    metadata.bitmaps.beforeResize();
    try {
      if (newSize > oldSize) {
        grow(oldSize, newSize, preallocation);
      } else if (newSize < oldSize) {
        shrink(oldSize, newSize);
      }
      metadata.durability.flush();
    } finally {
      metadata.bitmaps.resized(oldSize, metadata.size());
    }
    metadata.bitmaps.afterResize();
  }

  private void grow(long oldSize, long newSize, Preallocation asked) throws IOException {
    // A data file that is a raw image as well is mapped from end to end.
    Preallocation preallocation =
        metadata.rawData && asked == Preallocation.OFF ? Preallocation.METADATA : asked;
    long entries = geometry.l1Entries(newSize);
    if (entries > metadata.l1.length()) {
      growL1(entries);
    }
    // Nobody may find the new size on the disk, not even after an eviction, with the part
    // uncleared.
    metadata.setSizeInMemory(newSize);
    try {
      if (metadata.rawData) {
        metadata.data.resize(newSize, space(preallocation));
      }
      dropVmState(oldSize, newSize);
      clearNewPart(oldSize, newSize);
      if (preallocation != Preallocation.OFF) {
        preallocate(oldSize, newSize, preallocation);
      }
    } catch (IOException | RuntimeException e) {
      undo(oldSize, newSize, e);
      throw e;
    }
    metadata.setSize(newSize);
  }

  private static Storage.Preallocation space(Preallocation preallocation) {
    return switch (preallocation) {
      case OFF, METADATA -> Storage.Preallocation.OFF;
      case FALLOC -> Storage.Preallocation.FALLOC;
      case FULL -> Storage.Preallocation.FULL;
    };
  }

  /** Gives back what has its place behind the old end: the disk stays as long as it was. */
  private void undo(long oldSize, long newSize, Exception reason) {
    try {
      long from = geometry.clusterOffset(geometry.clusters(oldSize));
      if (newSize > from) {
        fixed.discard(from, newSize - from, Discard.TO_BACKING);
      }
      metadata.setSizeInMemory(oldSize);
      if (metadata.rawData) {
        metadata.durability.flush();
        metadata.data.resize(oldSize, Storage.Preallocation.OFF);
      }
    } catch (IOException | RuntimeException e) {
      reason.addSuppressed(e);
    } finally {
      metadata.setSizeInMemory(oldSize);
    }
  }

  /** What a machine has saved behind the end of the disk would become part of it. */
  private void dropVmState(long oldSize, long newSize) throws IOException {
    long tables = Math.min(geometry.l1Entries(newSize), metadata.l1.length());
    for (long table = geometry.l1Entries(oldSize); table < tables; table++) {
      if (metadata.l1.target(table) != 0) {
        long start = table * geometry.l2Coverage();
        fixed.discard(start, Math.min(geometry.l2Coverage(), newSize - start), Discard.TO_BACKING);
      }
    }
  }

  /**
   * Makes what appears behind the old end read as zero: the rest of the old last cluster, which
   * nobody could see, and what a longer backing image has there.
   */
  private void clearNewPart(long oldSize, long newSize) throws IOException {
    long clusterEnd = Math.min(newSize, geometry.clusterOffset(geometry.clusters(oldSize)));
    long to = clusterEnd;
    if (backing != null) {
      to = Math.max(to, Math.min(newSize, backing.size()));
    }
    if (to > oldSize) {
      fixed.writeZeroes(oldSize, to - oldSize, true);
    }
  }

  /** Makes room for more L2 tables; none is made. */
  void growL1(long entries) throws IOException {
    long clusters = geometry.clusters(entries * Geometry.ENTRY_BYTES);
    Allocator.Taken taken = metadata.allocator.takeTogether(clusters);
    long place = geometry.clusterOffset(taken.firstCluster());
    try {
      metadata.storage.event(BlockEvent.L1_GROW_ALLOC_TABLE);
      metadata.storage.writeZeroes(place, geometry.clusterOffset(clusters), ZeroMode.ALLOCATED);
      metadata.durability.tableWritten();
    } catch (IOException | RuntimeException e) {
      metadata.giveBack(taken, e);
      throw e;
    }
    metadata.lock.lock();
    try {
      PointerTable l1 = metadata.l1;
      long old = l1.hostOffset();
      long oldClusters = geometry.clusters((long) l1.length() * Geometry.ENTRY_BYTES);
      l1.moveTo(place, Arrays.copyOf(l1.entries(), (int) entries));
      metadata.l2.grow();
      metadata.map.add(place, clusters);
      if (oldClusters > 0) {
        metadata.map.remove(old, oldClusters);
        metadata.freed(geometry.clusterIndex(old), oldClusters);
      }
    } finally {
      metadata.lock.unlock();
    }
  }

  /** Gives every cluster of the new part a place. */
  private void preallocate(long oldSize, long newSize, Preallocation preallocation)
      throws IOException {
    long at = geometry.clusterStart(oldSize);
    if (at < oldSize) {
      long end = at + geometry.clusterSize();
      if (!placed(at, preallocation)) {
        // The old disk ends in this cluster: what it shows there is kept as by any write.
        fixed.writeZeroData(oldSize, Math.min(newSize, end));
      }
      at = end;
    }
    while (at < newSize) {
      if (placed(at, preallocation)) {
        at += geometry.clusterSize();
        continue;
      }
      long end = Math.min(newSize, writer.sliceEnd(at));
      try (Claims.Claim _ = writer.claim(at, end - at)) {
        Place place = writer.place(at, end - at);
        long length = geometry.clusterOffset(place.clusters());
        boolean zero = preallocation == Preallocation.METADATA && saysZero(oldSize);
        try {
          provide(place.hostOffset(), length, preallocation, zero);
          metadata.durability.dataWritten();
          writer.linkPreallocated(at, place, zero);
        } catch (IOException | RuntimeException e) {
          writer.giveBack(place, e);
          throw e;
        }
        at += length;
      }
    }
  }

  /**
   * Whether entries say that a cluster whose space is a hole reads as zero, where the format can:
   * the hole alone does not make it so if guest data is encrypted. QEMU says so too where a backing
   * image is longer than the old disk.
   */
  private boolean saysZero(long oldSize) {
    boolean behind = backing != null && backing.size() > oldSize;
    return geometry.version() >= 3 && (behind || !metadata.data.holesReadAsZero());
  }

  private void provide(long hostOffset, long length, Preallocation preallocation, boolean zero)
      throws IOException {
    Storage data = metadata.data;
    if (preallocation == Preallocation.FULL) {
      Zeroes.write(data, hostOffset, length);
    } else if (preallocation == Preallocation.FALLOC) {
      data.writeZeroes(hostOffset, length, ZeroMode.ALLOCATED);
    } else if (!zero || data.holesReadAsZero()) {
      data.writeZeroes(hostOffset, length, ZeroMode.SPARSE);
    } else if (hostOffset + length > data.size()) {
      // No entry may lead to a cluster behind the file's end.
      data.writeZeroes(hostOffset + length - SECTOR, SECTOR, ZeroMode.SPARSE);
    }
  }

  /** Whether a cluster has what this mode gives. */
  private boolean placed(long guestOffset, Preallocation preallocation) throws IOException {
    Slice slice = metadata.tableWritable(guestOffset) ? metadata.slice(guestOffset) : null;
    if (slice == null) {
      return false;
    }
    L2Entry entry = slice.entry(geometry.entryInSlice(guestOffset));
    return preallocation == Preallocation.METADATA
        ? entry.ownsCluster(geometry)
        : entry.preallocated(geometry);
  }

  private void shrink(long oldSize, long newSize) throws IOException {
    long clusterEnd = geometry.clusterOffset(geometry.clusters(newSize));
    if (clusterEnd > newSize) {
      fixed.writeZeroes(newSize, Math.min(clusterEnd, oldSize) - newSize, false);
    }
    if (oldSize > clusterEnd) {
      fixed.discard(clusterEnd, oldSize - clusterEnd, Discard.TO_BACKING);
    }
    metadata.storage.event(BlockEvent.L1_SHRINK_WRITE_TABLE);
    for (long table = geometry.l1Entries(newSize); table < metadata.l1.length(); table++) {
      metadata.storage.event(BlockEvent.L1_SHRINK_FREE_L2_CLUSTERS);
      dropTable((int) table);
    }
    metadata.setSize(newSize);
    if (metadata.rawData) {
      metadata.durability.flush();
      metadata.data.resize(newSize, Storage.Preallocation.OFF);
    }
  }

  /** Gives up an L2 table that lies wholly behind the disk's new end and maps nothing any more. */
  private void dropTable(int table) throws IOException {
    long target = metadata.l1.target(table);
    if (target == 0 || metadata.l1.get(table) >= 0 || mapsAnything(table)) {
      return;
    }
    metadata.lock.lock();
    try {
      metadata.l2.drop(table);
      metadata.l1.set(table, 0);
      metadata.map.remove(target, 1);
      metadata.freed(geometry.clusterIndex(target), 1);
    } finally {
      metadata.lock.unlock();
    }
  }

  private boolean mapsAnything(int table) throws IOException {
    long start = table * geometry.l2Coverage();
    for (int i = 0; i < geometry.slicesPerCluster(); i++) {
      Slice slice = metadata.slice(start + i * geometry.sliceCoverage());
      for (int index = 0; slice != null && index < geometry.sliceEntries(); index++) {
        if (!slice.entry(index).unmapped(geometry)) {
          return true;
        }
      }
    }
    return false;
  }
}
