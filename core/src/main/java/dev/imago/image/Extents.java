package dev.imago.image;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.Optional;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.jspecify.annotations.Nullable;

/** Walks backing chains. */
final class Extents {
  private Extents() {}

  static Extent resolve(Image top, long guestOffset, long maxLength) throws IOException {
    Image layer = top;
    int depth = 0;
    long at = guestOffset;
    long length = maxLength;
    long reserved = -1;
    while (true) {
      if (at >= layer.size()) {
        return new Extent(guestOffset, depth, layer, new Mapping.Unallocated(length, reserved));
      }
      Mapping mapping = layer.map(at, Math.min(length, layer.size() - at));
      if (!(mapping instanceof Mapping.Backing behind)) {
        return new Extent(guestOffset, depth, layer, mapping);
      }
      layer = behind.layer();
      at = behind.guestOffset();
      length = behind.length();
      reserved = behind.preallocatedHostOffset();
      depth++;
    }
  }

  static Stream<Extent> stream(Image top, long guestOffset, long length) {
    Objects.checkFromIndexSize(guestOffset, length, top.size());
    return StreamSupport.stream(
        Spliterators.spliteratorUnknownSize(
            new Walk(top, guestOffset, guestOffset + length),
            Spliterator.ORDERED | Spliterator.NONNULL | Spliterator.IMMUTABLE),
        false);
  }

  /** Two runs as one, if the second goes on where the first ends. */
  @SuppressWarnings("ReferenceEquality") // layers and storages have no other identity
  static Optional<Extent> merged(Extent a, Extent b) {
    if (a.layer() != b.layer() || a.depth() != b.depth()) {
      return Optional.empty();
    }
    long length = a.length() + b.length();
    Mapping both =
        switch (a.mapping()) {
          case Mapping.Data x
              when b.mapping() instanceof Mapping.Data y
                  && x.storage() == y.storage()
                  && x.writable() == y.writable()
                  && x.hostOffset() + x.length() == y.hostOffset() ->
              new Mapping.Data(x.storage(), x.hostOffset(), length, x.writable());
          case Mapping.Zero x
              when b.mapping() instanceof Mapping.Zero y
                  && x.explicit() == y.explicit()
                  && goesOn(x.preallocatedHostOffset(), x.length(), y.preallocatedHostOffset()) ->
              new Mapping.Zero(length, x.explicit(), x.preallocatedHostOffset());
          case Mapping.Unallocated x
              when b.mapping() instanceof Mapping.Unallocated y
                  && goesOn(x.preallocatedHostOffset(), x.length(), y.preallocatedHostOffset()) ->
              new Mapping.Unallocated(length, x.preallocatedHostOffset());
          default -> new Mapping.End();
        };
    return both instanceof Mapping.End
        ? Optional.empty()
        : Optional.of(new Extent(a.guestOffset(), a.depth(), a.layer(), both));
  }

  /** Whether reserved host space goes on behind {@code length} bytes, or there is none at all. */
  private static boolean goesOn(long hostOffset, long length, long next) {
    return hostOffset < 0 ? next < 0 : hostOffset + length == next;
  }

  private static final class Walk implements Iterator<Extent> {
    private final Image top;
    private final long end;
    private long next;
    private @Nullable Extent ahead;

    Walk(Image top, long from, long end) {
      this.top = top;
      this.next = from;
      this.end = end;
    }

    @Override
    public boolean hasNext() {
      return ahead != null || next < end;
    }

    @Override
    public Extent next() {
      Extent run = ahead != null ? ahead : step();
      ahead = null;
      while (next < end) {
        Extent following = step();
        Optional<Extent> both = merged(run, following);
        if (both.isEmpty()) {
          ahead = following;
          break;
        }
        run = both.get();
      }
      return run;
    }

    private Extent step() {
      if (next >= end) {
        throw new NoSuchElementException();
      }
      try {
        Extent extent = resolve(top, next, end - next);
        next += extent.length();
        return extent;
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
