package dev.imago.qcow2;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Makes a disk larger or smaller. No request is under way meanwhile.
 *
 * <p>Spec: qcow2 digest, 15.1.
 */
final class Resizer {
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
    if (newSize < 0 || (newSize & 511) != 0) {
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
    Header header = metadata.header();
    if (header.version() < 3 && metadata.snapshots.count() > 0) {
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

  private void grow(long oldSize, long newSize, Preallocation preallocation) throws IOException {
    long entries = geometry.l1Entries(newSize);
    if (entries > metadata.l1.length()) {
      growL1(entries);
    }
    if (metadata.rawData) {
      metadata.data.resize(newSize, preallocation);
    }
    // Nobody may find the new size on the disk, not even after an eviction, with the part
    // uncleared.
    metadata.setSizeInMemory(newSize);
    try {
      clearNewPart(oldSize, newSize);
    } catch (IOException | RuntimeException e) {
      metadata.setSizeInMemory(oldSize);
      throw e;
    }
    metadata.setSize(newSize);
    if (preallocation != Preallocation.OFF) {
      preallocate(oldSize, newSize, preallocation);
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

  private void growL1(long entries) throws IOException {
    long clusters = geometry.clusters(entries * Geometry.ENTRY_BYTES);
    Allocator.Taken taken = metadata.allocator.takeTogether(clusters);
    long place = geometry.clusterOffset(taken.firstCluster());
    try {
      metadata.storage.writeZeroes(
          place, geometry.clusterOffset(clusters), Storage.ZeroMode.ALLOCATED);
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

  /** Gives every cluster of a range a place. */
  private void preallocate(long from, long to, Preallocation preallocation) throws IOException {
    long at = geometry.clusterOffset(geometry.clusters(from));
    while (at < to) {
      long end = Math.min(to, writer.sliceEnd(at));
      if (preallocated(at)) {
        at += geometry.clusterSize();
        continue;
      }
      try (Claims.Claim _ = writer.claim(at, end - at)) {
        Place place = writer.place(at, end - at);
        long length = geometry.clusterOffset(place.clusters());
        try {
          if (preallocation == Preallocation.FULL) {
            Zeroes.write(metadata.data, place.hostOffset(), length);
          } else {
            metadata.data.writeZeroes(place.hostOffset(), length, Storage.ZeroMode.ALLOCATED);
          }
          metadata.durability.dataWritten();
          writer.linkPreallocated(at, place);
        } catch (IOException | RuntimeException e) {
          writer.giveBack(place, e);
          throw e;
        }
        at += length;
      }
    }
  }

  private boolean preallocated(long guestOffset) throws IOException {
    Slice slice = metadata.tableWritable(guestOffset) ? metadata.slice(guestOffset) : null;
    return slice != null && slice.entry(geometry.entryInSlice(guestOffset)).preallocated(geometry);
  }

  private void shrink(long oldSize, long newSize) throws IOException {
    long clusterEnd = geometry.clusterOffset(geometry.clusters(newSize));
    if (clusterEnd > newSize) {
      fixed.writeZeroes(newSize, Math.min(clusterEnd, oldSize) - newSize, false);
    }
    if (oldSize > clusterEnd) {
      fixed.discard(clusterEnd, oldSize - clusterEnd, Discard.TO_BACKING);
    }
    for (long table = geometry.l1Entries(newSize); table < metadata.l1.length(); table++) {
      dropTable((int) table);
    }
    metadata.setSize(newSize);
    if (metadata.rawData) {
      metadata.durability.flush();
      metadata.data.resize(newSize, Preallocation.OFF);
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
