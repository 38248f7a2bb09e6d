package dev.imago.nbd;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.nbd.wire.StatusExtent;
import java.io.IOException;

/**
 * The context {@code qemu:allocation-depth}: 0 where no layer has anything, 1 where the image
 * itself has, 2 for its backing image, and so on.
 */
record DepthStatus(Image image, long base) implements StatusSource {
  @Override
  public StatusExtent at(long offset, long maxLength) throws IOException {
    Extent extent = image.resolve(base + offset, maxLength);
    boolean nowhere = extent.mapping() instanceof Mapping.Unallocated;
    return new StatusExtent(extent.length(), nowhere ? 0 : extent.depth() + 1);
  }
}
