package dev.imago.nbd;

import dev.imago.image.Image.Range;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.qcow2.Bitmaps;
import java.io.IOException;
import java.util.Optional;

/**
 * A context {@code qemu:dirty-bitmap:NAME}.
 *
 * @param base where in the image the export begins
 */
record DirtyStatus(Bitmaps bitmaps, String name, long base) implements StatusSource {
  @Override
  public StatusExtent at(long offset, long maxLength) throws IOException {
    long from = base + offset;
    Optional<Range> next = bitmaps.dirtyExtents(name, from, maxLength).findFirst();
    if (next.isEmpty()) {
      return new StatusExtent(maxLength, 0);
    }
    Range dirty = next.get();
    return dirty.guestOffset() > from
        ? new StatusExtent(dirty.guestOffset() - from, 0)
        : new StatusExtent(dirty.length(), MetaContext.DIRTY);
  }
}
