package dev.imago;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.Progress;
import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a copy has to do: the sources' extents in guest order, cut into batches. Workers draw
 * batches and say when they are done.
 *
 * <p>A batch with data lies within one aligned chunk of the target, so that no two workers write
 * into the same target cluster; holes are passed over as they are found, however long they are.
 */
final class CopyPlan {
  /** The longest run of zeroes that is one piece of work. */
  private static final long ZEROES = 1L << 30;

  private final List<Image> sources;
  private final int layers;
  private final boolean skipZeroes;
  private final boolean zeroesAsData;
  private final boolean offload;
  private final int chunk;
  private final Progress progress;
  private final @Nullable Salvage salvage;
  private final long from;
  private final long total;

  private int source;
  private long sourceStart;
  private long next;
  private @Nullable Piece current;
  private long done;
  private long drawn;

  /** What is to be done with a piece. */
  enum Kind {
    /** Copy it. */
    DATA,
    /** Copy it; the source keeps the bytes as they are, so that storages may copy them. */
    PLAIN,
    /** It reads as zero. */
    ZERO,
    /** The target's backing image has it. */
    BACKING
  }

  /**
   * A run of bytes of one kind from one source.
   *
   * @param sourceOffset guest offset in the source
   * @param targetOffset guest offset in the target
   */
  record Piece(Kind kind, Image source, long sourceOffset, long targetOffset, long length) {
    /** Bytes that are read and written; zeroes are not. */
    static long data(List<Piece> batch) {
      return batch.stream()
          .filter(piece -> piece.kind == Kind.DATA || piece.kind == Kind.PLAIN)
          .mapToLong(Piece::length)
          .sum();
    }

    Piece head(long bytes) {
      return new Piece(kind, source, sourceOffset, targetOffset, bytes);
    }

    Piece behind(long bytes) {
      return new Piece(kind, source, sourceOffset + bytes, targetOffset + bytes, length - bytes);
    }

    @SuppressWarnings("ReferenceEquality") // one source may be given twice
    boolean continuedBy(Piece other) {
      return kind == other.kind
          && source == other.source
          && sourceOffset + length == other.sourceOffset;
    }
  }

  /**
   * Lays out the work.
   *
   * @param from where in the only source the copy begins; 0 if there are more
   * @param total bytes to be copied: all that the sources have unless there is only one
   * @param layers how many layers of each source are copied; what they leave to the next one is
   *     {@link Kind#BACKING}. 0 for all of them
   * @param skipZeroes whether zeroes need no work
   * @param zeroesAsData whether known zeroes are to be copied as if they were data
   * @param offload whether there is to be {@link Kind#PLAIN}; all is {@link Kind#DATA} otherwise
   * @param chunk a power of two, not below the target's cluster size
   * @param salvage takes what the sources cannot tell, so that it counts as zeroes; null if that
   *     ends the copy
   */
  CopyPlan(
      List<Image> sources,
      long from,
      long total,
      int layers,
      boolean skipZeroes,
      boolean zeroesAsData,
      boolean offload,
      int chunk,
      Progress progress,
      @Nullable Salvage salvage) {
    this.sources = sources;
    this.layers = layers;
    this.skipZeroes = skipZeroes;
    this.zeroesAsData = zeroesAsData;
    this.offload = offload;
    this.chunk = chunk;
    this.progress = progress;
    this.salvage = salvage;
    this.from = from;
    this.total = total;
  }

  /** Bytes that guests see in all of these images, one behind the other. */
  static long total(List<Image> sources) {
    return sources.stream().mapToLong(Image::size).reduce(0, Math::addExact);
  }

  /** Bytes to be copied. */
  long total() {
    return total;
  }

  /**
   * Draws the next batch: pieces of one chunk, or one piece of zeroes of any length.
   *
   * @return the batch's number, counted from 0; -1 if there is nothing left to draw
   * @throws ConvertException if a source cannot say what it holds
   */
  synchronized long draw(List<Piece> batch) throws ConvertException {
    batch.clear();
    long end = 0;
    while (true) {
      Piece piece = peek();
      if (piece == null) {
        return batch.isEmpty() ? -1 : drawn++;
      }
      if (piece.kind() == Kind.BACKING || (piece.kind() == Kind.ZERO && skipZeroes)) {
        if (!batch.isEmpty() && piece.targetOffset() + piece.length() >= end) {
          return drawn++;
        }
        take(piece.length());
        finished(piece.length());
        continue;
      }
      if (batch.isEmpty()) {
        end = (piece.targetOffset() & -chunk) + chunk;
        if (piece.kind() == Kind.ZERO && piece.length() >= chunk) {
          batch.add(take(Math.min(piece.length(), ZEROES)));
          return drawn++;
        }
      } else if (piece.targetOffset() >= end) {
        return drawn++;
      }
      add(batch, take(Math.min(piece.length(), end - piece.targetOffset())));
    }
  }

  private static void add(List<Piece> batch, Piece piece) {
    Piece last = batch.isEmpty() ? null : batch.getLast();
    if (last != null && last.continuedBy(piece)) {
      batch.removeLast();
      batch.add(last.head(last.length() + piece.length()));
    } else {
      batch.add(piece);
    }
  }

  /** Says that this many bytes more need no more work. */
  synchronized void finished(long bytes) {
    done += bytes;
    progress.at(done, total);
  }

  private Piece take(long bytes) {
    Piece piece = current;
    if (piece == null) {
      throw new IllegalStateException("nothing to take");
    }
    next += bytes;
    current = bytes == piece.length() ? null : piece.behind(bytes);
    return piece.head(bytes);
  }

  private @Nullable Piece peek() throws ConvertException {
    while (current == null && source < sources.size()) {
      Image image = sources.get(source);
      long at = from + next - sourceStart;
      long end = Math.min(image.size(), from + total - sourceStart);
      if (at == end) {
        sourceStart = next;
        source++;
        continue;
      }
      try {
        current = look(image, at, end - at);
      } catch (IOException e) {
        if (salvage == null) {
          throw new ConvertException(false, next, e);
        }
        current = unknown(image, at, end, e, salvage);
      }
    }
    return current;
  }

  /** What follows, up to the end of the cluster, is a hole that nobody knows anything of. */
  private Piece unknown(Image image, long at, long end, IOException why, Salvage lost) {
    int unit = Math.max(512, image.clusterSize());
    long length = Math.min((at / unit + 1) * unit, end) - at;
    lost.lost(next, length, why);
    return new Piece(Kind.ZERO, image, at, next, length);
  }

  private Piece look(Image image, long at, long length) throws IOException {
    Mapping mapping;
    boolean below = false;
    if (layers == 1) {
      mapping = image.map(at, length);
    } else {
      Extent extent = image.resolve(at, length);
      mapping = extent.mapping();
      below = layers > 0 && extent.depth() >= layers;
    }
    // Not a switch over types: the JVM spins a class for it when it first meets one (5 ms and
    // more).
    Kind kind;
    if (below || mapping instanceof Mapping.Backing) {
      kind = Kind.BACKING;
    } else if (offload && mapping instanceof Mapping.Data) {
      kind = Kind.PLAIN;
    } else if (mapping instanceof Mapping.Data || mapping instanceof Mapping.Encoded) {
      kind = Kind.DATA;
    } else if (mapping instanceof Mapping.Zero || mapping instanceof Mapping.Unallocated) {
      kind = zeroesAsData ? Kind.DATA : Kind.ZERO;
    } else {
      throw new IOException(
          "%s ends before its size of %d bytes".formatted(image.name(), image.size()));
    }
    return new Piece(kind, image, at, next, mapping.length());
  }
}
