package dev.imago.nbd;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The context {@code base:allocation}: what {@code qemu-img map} calls not {@code data} is a hole,
 * what it calls {@code zero} is zero.
 */
final class AllocationStatus implements StatusSource {
  private final Image image;
  private final long base;

  /** For each file of a layer, whether much of it is holes. */
  private final Map<Storage, Boolean> sparse = new ConcurrentHashMap<>();

  AllocationStatus(Image image, long base) {
    this.image = image;
    this.base = base;
  }

  @Override
  public StatusExtent at(long offset, long maxLength) throws IOException {
    Extent extent = image.resolve(base + offset, maxLength);
    return switch (extent.mapping()) {
      case Mapping.Data data -> data(extent.layer(), data);
      case Mapping.Encoded encoded -> new StatusExtent(encoded.length(), 0);
      case Mapping mapping ->
          new StatusExtent(mapping.length(), MetaContext.HOLE | MetaContext.ZERO);
    };
  }

  private StatusExtent data(Image layer, Mapping.Data data) throws IOException {
    Storage file = data.storage();
    if (!mayBeHoles(layer, file)) {
      return new StatusExtent(data.length(), 0);
    }
    if (data.hostOffset() >= file.size()) {
      return new StatusExtent(data.length(), MetaContext.ZERO);
    }
    Storage.Run run = file.run(data.hostOffset(), data.length());
    return new StatusExtent(run.length(), run.data() ? 0 : MetaContext.ZERO);
  }

  /**
   * Whether clusters of this layer may be holes of its file: it was made with its metadata only. As
   * QEMU does, this is told by the file's size on the host, once, and not for each cluster.
   */
  private boolean mayBeHoles(Image layer, Storage file) throws IOException {
    if (layer.format().equals("raw") || !file.name().equals(layer.name())) {
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
