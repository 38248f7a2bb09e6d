package dev.imago;

import dev.imago.internal.Buffers;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * What a rescuing copy could not read, and so has left as zeroes. Made by the caller, given to
 * {@link Convert#salvage}, and asked once the copy is done. Safe for many threads.
 */
public final class Salvage {
  /** Holes beyond this many are counted, but not kept. */
  public static final int MAX_HOLES = 100_000;

  private static final int BLOCK = 4096;
  private static final int SECTOR = 512;

  private final List<Hole> found = new ArrayList<>();
  private long bytes;

  /**
   * A run of bytes that could not be read.
   *
   * @param guestOffset where it begins in the target
   * @param length in bytes
   * @param why what happened to whoever tried to read its first byte
   */
  public record Hole(long guestOffset, long length, String why) {}

  /** Nothing was lost so far. */
  public Salvage() {}

  /**
   * Reads a piece that could not be read as a whole: in units that do not cross their own borders,
   * and what fails in smaller ones.
   */
  void read(CopyPlan.Piece piece, ByteBuffer dst) {
    read(piece, dst, Math.max(BLOCK, piece.source().clusterSize()));
  }

  private void read(CopyPlan.Piece piece, ByteBuffer dst, int unit) {
    long from = piece.sourceOffset();
    long end = from + piece.length();
    for (long at = from; at < end; ) {
      long next = Math.min(end, (at / unit + 1) * unit);
      int in = (int) (at - from);
      int length = (int) (next - at);
      try {
        piece.source().read(dst.slice(in, length), at);
      } catch (IOException e) {
        if (unit > SECTOR) {
          read(piece.behind(in).head(length), dst.slice(in, length), SECTOR);
        } else {
          Buffers.zero(dst.slice(in, length));
          lost(piece.targetOffset() + in, length, e);
        }
      }
      at = next;
    }
  }

  synchronized void lost(long guestOffset, long length, IOException why) {
    bytes += length;
    Hole last = found.isEmpty() ? null : found.getLast();
    if (last != null && last.guestOffset + last.length == guestOffset) {
      found.set(found.size() - 1, new Hole(last.guestOffset, last.length + length, last.why));
    } else if (found.size() < MAX_HOLES) {
      String message = why.getMessage();
      found.add(new Hole(guestOffset, length, message == null ? why.toString() : message));
    }
  }

  /** Whether there are more holes than {@link #holes} knows. */
  public synchronized boolean more() {
    return found.size() == MAX_HOLES;
  }

  /** The bytes that could not be read, all together. */
  public synchronized long bytes() {
    return bytes;
  }

  /** What could not be read, in ascending order; neighbours are one hole. */
  public synchronized List<Hole> holes() {
    List<Hole> sorted = new ArrayList<>(found);
    sorted.sort(Comparator.comparingLong(Hole::guestOffset));
    List<Hole> joined = new ArrayList<>();
    for (Hole hole : sorted) {
      Hole last = joined.isEmpty() ? null : joined.getLast();
      if (last != null && last.guestOffset + last.length == hole.guestOffset) {
        joined.set(
            joined.size() - 1, new Hole(last.guestOffset, last.length + hole.length, last.why));
      } else {
        joined.add(hole);
      }
    }
    return List.copyOf(joined);
  }
}
