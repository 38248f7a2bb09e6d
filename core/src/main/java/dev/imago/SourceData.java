package dev.imago;

import dev.imago.image.Extent;
import dev.imago.image.FileHoles;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.storage.Storage;
import java.io.IOException;

/**
 * Where an image holds data. Clusters that were preallocated and never written count as zeroes if
 * their file says so.
 */
final class SourceData {
  private final Image image;
  private final FileHoles holes = new FileHoles();

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
      Storage.Run run = holes.run(extent.layer(), data);
      return new Run(run.data(), run.length());
    }
    return new Run(mapping instanceof Mapping.Encoded, extent.length());
  }
}
