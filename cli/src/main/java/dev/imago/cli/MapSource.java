package dev.imago.cli;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.IdentityHashMap;

/** Finds the lines of {@code map} in an image and in the files below it. */
final class MapSource {
  private final Image image;

  /** For each file of a layer, whether much of it is holes. */
  private final IdentityHashMap<Storage, Boolean> sparse = new IdentityHashMap<>();

  MapSource(Image image) {
    this.image = image;
  }

  /** What is at a guest offset, and how far that goes; not longer than {@code maxLength}. */
  MapEntry at(long guestOffset, long maxLength) throws IOException {
    Extent extent = image.resolve(guestOffset, maxLength);
    long length = extent.length();
    int depth = extent.depth();
    Mapping mapping = extent.mapping();
    // Not a switch over types: the JVM spins a class for it when it first meets one (5 ms and
    // more).
    if (mapping instanceof Mapping.Data data) {
      return data(extent, data);
    }
    if (mapping instanceof Mapping.Encoded) {
      return new MapEntry(guestOffset, length, depth, true, false, true, -1, "");
    }
    if (mapping instanceof Mapping.Zero zero) {
      long reserved = zero.preallocatedHostOffset();
      return new MapEntry(guestOffset, length, depth, true, true, false, reserved, "");
    }
    // Behind the end of a shorter backing image it is the layer above that has the zeroes.
    boolean behind = depth > 0 && guestOffset >= extent.layer().size();
    long reserved =
        mapping instanceof Mapping.Unallocated nothing ? nothing.preallocatedHostOffset() : -1;
    return new MapEntry(
        guestOffset, length, behind ? depth - 1 : depth, false, true, false, reserved, "");
  }

  private MapEntry data(Extent extent, Mapping.Data data) throws IOException {
    Storage file = data.storage();
    long length = data.length();
    boolean zero = false;
    if (mayBeHoles(extent.layer(), file)) {
      zero = data.hostOffset() >= file.size();
      if (!zero) {
        Storage.Run run = file.run(data.hostOffset(), length);
        length = run.length();
        zero = !run.data();
      }
    }
    return new MapEntry(
        extent.guestOffset(),
        length,
        extent.depth(),
        true,
        zero,
        true,
        data.hostOffset(),
        file.name());
  }

  /**
   * Whether clusters of this layer may be holes of its file: it was made with its metadata only. As
   * QEMU does, this is told by the file's size on the host, and not for each cluster, for otherwise
   * every half-written cluster would show as two lines.
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
