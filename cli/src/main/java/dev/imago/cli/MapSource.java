package dev.imago.cli;

import dev.imago.image.Extent;
import dev.imago.image.FileHoles;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.storage.Storage;
import java.io.IOException;

/** Finds the lines of {@code map} in an image and in the files below it. */
final class MapSource {
  private final Image image;
  private final FileHoles holes = new FileHoles();

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
    Storage.Run run = holes.run(extent.layer(), data);
    return new MapEntry(
        extent.guestOffset(),
        run.length(),
        extent.depth(),
        true,
        !run.data(),
        true,
        data.hostOffset(),
        data.storage().name());
  }
}
