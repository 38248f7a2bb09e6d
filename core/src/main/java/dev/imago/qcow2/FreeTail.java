package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;

/**
 * Gives the free clusters at the end of the file back, by cutting the file off there. Only while no
 * request is under way, and when everything is on the disk, lowered counts too: then nothing on the
 * disk leads behind the last counted cluster, whether the cut itself survives a crash or not.
 * Others who look at the image without a lock read zeroes behind the end, as in any free cluster.
 */
final class FreeTail {
  private FreeTail() {}

  /** Cuts, if there is anything to cut. Block devices keep their size. */
  static void cut(Metadata metadata) throws IOException {
    Storage storage = metadata.storage;
    if (storage.fixedSize() || metadata.quarantine.clusters() > 0) {
      return;
    }
    Geometry geometry = metadata.geometry;
    long size = storage.size();
    long clusters = geometry.clusters(size);
    long end = Math.max(1, metadata.counts.usedEnd(clusters));
    // Live metadata that is not counted: a check has to look at this image first.
    if (end < clusters
        && !metadata.map.overlaps(
            geometry.clusterOffset(end), geometry.clusterOffset(clusters - end))) {
      storage.resize(geometry.clusterOffset(end), Preallocation.OFF);
    }
  }
}
