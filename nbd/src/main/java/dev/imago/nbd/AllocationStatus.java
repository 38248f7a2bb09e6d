package dev.imago.nbd;

import dev.imago.image.Extent;
import dev.imago.image.FileHoles;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.storage.Storage;
import java.io.IOException;

/**
 * The context {@code base:allocation}: what {@code qemu-img map} calls not {@code data} is a hole,
 * what it calls {@code zero} is zero.
 */
final class AllocationStatus implements StatusSource {
  private final Image image;
  private final long base;
  private final FileHoles holes = new FileHoles();

  /** {@code base} is where in the image the export begins. */
  AllocationStatus(Image image, long base) {
    this.image = image;
    this.base = base;
  }

  @Override
  public StatusSource fresh() {
    return new AllocationStatus(image, base);
  }

  @Override
  public StatusExtent at(long offset, long maxLength) throws IOException {
    Extent extent = image.resolve(base + offset, maxLength);
    return switch (extent.mapping()) {
      case Mapping.Data data -> {
        Storage.Run run = holes.run(extent.layer(), data);
        yield new StatusExtent(run.length(), run.data() ? 0 : MetaContext.ZERO);
      }
      case Mapping.Encoded encoded -> new StatusExtent(encoded.length(), 0);
      case Mapping mapping ->
          new StatusExtent(mapping.length(), MetaContext.HOLE | MetaContext.ZERO);
    };
  }
}
