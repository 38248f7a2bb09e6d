package dev.imago.nbd;

import dev.imago.image.Image.Range;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.qcow2.Bitmaps;
import java.io.IOException;
import java.util.Iterator;
import org.jspecify.annotations.Nullable;

/**
 * A context {@code qemu:dirty-bitmap:NAME}. A bitmap that is on the disk is read once for each
 * reply, not for each extent.
 */
final class DirtyStatus implements StatusSource {
  private final Bitmaps bitmaps;
  private final String name;
  private final long base;

  /** From the first question on. */
  private @Nullable Iterator<Range> ranges;

  /** The first dirty range that does not lie before what was asked for, or null. */
  private @Nullable Range dirty;

  /** {@code base} is where in the image the export begins. */
  DirtyStatus(Bitmaps bitmaps, String name, long base) {
    this.bitmaps = bitmaps;
    this.name = name;
    this.base = base;
  }

  @Override
  public StatusSource fresh() {
    return new DirtyStatus(bitmaps, name, base);
  }

  @Override
  public StatusExtent at(long offset, long maxLength) throws IOException {
    long from = base + offset;
    if (ranges == null) {
      ranges = bitmaps.dirtyExtents(name, from, maxLength).iterator();
      dirty = ranges.hasNext() ? ranges.next() : null;
    }
    while (dirty != null && dirty.guestOffset() + dirty.length() <= from) {
      dirty = ranges.hasNext() ? ranges.next() : null;
    }
    if (dirty == null) {
      return new StatusExtent(maxLength, 0);
    }
    long clean = dirty.guestOffset() - from;
    return clean > 0
        ? new StatusExtent(Math.min(clean, maxLength), 0)
        : new StatusExtent(Math.min(clean + dirty.length(), maxLength), MetaContext.DIRTY);
  }
}
