package dev.imago;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.IdentityHashMap;

/**
 * Where an image holds data. Clusters that were preallocated and never written count as zeroes if
 * their file says so.
 */
final class SourceData {
  private final Image image;

  /** For each file of a layer, whether much of it is holes. */
  private final IdentityHashMap<Storage, Boolean> sparse = new IdentityHashMap<>();

  SourceData(Image image) {
    this.image = image;
  }

  /** A run of guest bytes that are data or read as zero. */
  record Run(boolean data, long length) {}

  /** What is at a guest offset, and how far that goes; not longer than {@code maxLength}. */
  Run at(long guestOffset, long maxLength) throws IOException {
    Extent extent = image.resolve(guestOffset, maxLength);
    Mapping mapping = extent.mapping();
    if (mapping instanceof Mapping.Data data) {
      Storage file = data.storage();
      if (!mayBeHoles(extent.layer(), file)) {
        return new Run(true, extent.length());
      }
      if (data.hostOffset() >= file.size()) {
        return new Run(false, extent.length());
      }
      Storage.Run run = file.run(data.hostOffset(), extent.length());
      return new Run(run.data(), run.length());
    }
    return new Run(mapping instanceof Mapping.Encoded, extent.length());
  }

  /**
   * Whether clusters of this layer may be holes of its file: it was made with its metadata only. As
   * QEMU does, this is told by the file's size on the host, and not for each cluster.
   */
  private boolean mayBeHoles(Image layer, Storage file) throws IOException {
    if (layer.format().equals(Formats.RAW) || !file.name().equals(layer.name())) {
      return false;
    }
    Boolean known = sparse.get(file);
    if (known == null) {
      long allocated = file.allocatedBytes();
      long unit = layer.clusterSize();
      long used = allocated / unit + 1;
      long clusters = file.size() / unit;
      known = allocated >= 0 && clusters > Math.max(used * 10 / 9, used + 2);
      sparse.put(file, known);
    }
    return known;
  }
}
