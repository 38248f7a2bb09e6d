package dev.imago;

import dev.imago.CopyPlan.Piece;
import dev.imago.image.CompressedRun;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.WritableRun;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;

/** A change of a copy's target, in two parts: where it goes, and its bytes. */
abstract sealed class CopyStep {
  private final long targetOffset;

  private CopyStep(long targetOffset) {
    this.targetOffset = targetOffset;
  }

  /** Guest offset of the first byte. */
  final long targetOffset() {
    return targetOffset;
  }

  abstract void doPlace() throws IOException;

  abstract void doWrite() throws IOException;

  abstract void doClose() throws IOException;

  /** Decides where the target keeps this. */
  final void place() throws ConvertException {
    try {
      doPlace();
    } catch (IOException e) {
      throw new ConvertException(true, targetOffset, e);
    }
  }

  /** Brings the bytes there. */
  final void write() throws ConvertException {
    try {
      doWrite();
    } catch (ConvertException e) {
      throw e;
    } catch (IOException e) {
      throw new ConvertException(true, targetOffset, e);
    }
  }

  /** Gives back what was placed and not written. A second call does nothing. */
  final void close() throws ConvertException {
    try {
      doClose();
    } catch (IOException e) {
      throw new ConvertException(true, targetOffset, e);
    }
  }

  /** Zeroes where something else is, or may be. */
  static final class Zeroes extends CopyStep {
    private final Image target;
    private final long guestOffset;
    private final long length;

    Zeroes(Image target, long guestOffset, long length) {
      super(guestOffset);
      this.target = target;
      this.guestOffset = guestOffset;
      this.length = length;
    }

    @Override
    void doPlace() throws IOException {
      target.writeZeroes(guestOffset, length, true, false);
    }

    @Override
    void doWrite() {}

    @Override
    void doClose() {}
  }

  /** Runs of data that the target finds places for when they are written. */
  static final class Plain extends CopyStep {
    private final Image target;
    private final ByteBuffer buffer;
    private final long base;
    private final List<int[]> runs;
    private final boolean atOnce;

    /**
     * Takes note.
     *
     * @param base guest offset of the buffer's first byte
     * @param runs pairs of first byte in the buffer and byte behind the last
     * @param atOnce whether it is written when it is placed
     */
    Plain(Image target, ByteBuffer buffer, long base, List<int[]> runs, boolean atOnce) {
      super(base + runs.getFirst()[0]);
      this.target = target;
      this.buffer = buffer;
      this.base = base;
      this.runs = runs;
      this.atOnce = atOnce;
    }

    @Override
    void doPlace() throws IOException {
      if (atOnce) {
        writeRuns();
      }
    }

    @Override
    void doWrite() throws IOException {
      if (!atOnce) {
        writeRuns();
      }
    }

    private void writeRuns() throws IOException {
      for (int[] run : runs) {
        target.write(buffer.clear().slice(run[0], run[1] - run[0]), base + run[0]);
      }
    }

    @Override
    void doClose() {}
  }

  /** Runs of data that have clusters in common: their places are found first. */
  static final class Reserved extends CopyStep {
    private final Image target;
    private final ByteBuffer buffer;
    private final long base;
    private final List<int[]> runs;
    private final List<Place> places = new ArrayList<>();

    /** From the byte in the buffer on. */
    private record Place(int from, WritableRun run) {}

    /** As {@link Plain}. */
    Reserved(Image target, ByteBuffer buffer, long base, List<int[]> runs) {
      super(base + runs.getFirst()[0]);
      this.target = target;
      this.buffer = buffer;
      this.base = base;
      this.runs = runs;
    }

    @Override
    void doPlace() throws IOException {
      int at = runs.getFirst()[0];
      int end = runs.getLast()[1];
      while (at < end) {
        WritableRun run = target.reserve(base + at, end - at, runs.size() == 1);
        places.add(new Place(at, run));
        at += (int) run.length();
      }
    }

    @Override
    void doWrite() throws IOException {
      for (Place place : places) {
        WritableRun there = place.run;
        for (int[] run : runs) {
          int from = Math.max(run[0], place.from);
          int to = (int) Math.min(run[1], place.from + there.length());
          if (from < to) {
            there
                .storage()
                .write(
                    buffer.clear().slice(from, to - from), there.hostOffset() + from - place.from);
          }
        }
        there.commit();
        there.close();
      }
    }

    @Override
    void doClose() throws IOException {
      closeAll(places.stream().map(Place::run).toList());
    }
  }

  private static void closeAll(List<WritableRun> runs) throws IOException {
    IOException failure = null;
    for (WritableRun run : runs) {
      try {
        run.close();
      } catch (IOException e) {
        failure = failure == null ? e : failure;
      }
    }
    if (failure != null) {
      throw failure;
    }
  }

  /**
   * Whole clusters that the storages copy; what they do not is read and written. All of it becomes
   * data: nobody looks for zeroes.
   */
  static final class Offloaded extends CopyStep {
    private final Image target;
    private final Piece piece;
    private final ByteBuffer buffer;
    private final boolean placedFirst;
    private final AtomicBoolean possible;
    private final List<WritableRun> places = new ArrayList<>();

    /**
     * Takes note.
     *
     * @param buffer as long as the piece, for what has to be read
     * @param placedFirst whether places are found in {@link #place}, or one after the other as they
     *     are filled, so that this holds one at a time
     * @param possible becomes false if the storages do nothing
     */
    Offloaded(
        Image target, Piece piece, ByteBuffer buffer, boolean placedFirst, AtomicBoolean possible) {
      super(piece.targetOffset());
      this.target = target;
      this.piece = piece;
      this.buffer = buffer;
      this.placedFirst = placedFirst;
      this.possible = possible;
    }

    @Override
    void doPlace() throws IOException {
      for (long at = 0; placedFirst && at < piece.length(); ) {
        at += reserve(at).length();
      }
    }

    @Override
    void doWrite() throws IOException {
      int number = 0;
      for (long at = 0; at < piece.length(); ) {
        WritableRun run = placedFirst ? places.get(number++) : reserve(at);
        fill(run, piece.behind(at).head(run.length()));
        run.commit();
        run.close();
        at += run.length();
      }
    }

    /** A place for what follows the first {@code done} bytes, or for some of it. */
    private WritableRun reserve(long done) throws IOException {
      WritableRun run = target.reserve(piece.targetOffset() + done, piece.length() - done, true);
      places.add(run);
      return run;
    }

    private void fill(WritableRun run, Piece part) throws IOException {
      long done = 0;
      while (done < part.length()) {
        long copied = copy(run, part.behind(done), run.hostOffset() + done);
        if (copied == 0) {
          if (done == 0) {
            possible.set(false);
          }
          write(run, part.behind(done), run.hostOffset() + done);
          return;
        }
        done += copied;
      }
    }

    /** Has the storage copy the beginning of what is left; how much that was. */
    private long copy(WritableRun run, Piece rest, long hostOffset) throws IOException {
      Image source = rest.source();
      try (Image.Pin _ = source.pin()) {
        Mapping mapping;
        try {
          mapping = source.resolve(rest.sourceOffset(), rest.length()).mapping();
        } catch (IOException e) {
          throw new ConvertException(false, rest.targetOffset(), e);
        }
        // It may have been another kind when the copy was planned: sources can be in use.
        return mapping instanceof Mapping.Data data
            ? run.storage().copyFrom(data.storage(), data.hostOffset(), hostOffset, data.length())
            : 0;
      }
    }

    private void write(WritableRun run, Piece rest, long hostOffset) throws IOException {
      ByteBuffer bytes =
          buffer
              .clear()
              .slice((int) (rest.targetOffset() - piece.targetOffset()), (int) rest.length());
      try {
        rest.source().read(bytes, rest.sourceOffset());
      } catch (IOException e) {
        throw new ConvertException(false, rest.targetOffset(), e);
      }
      run.storage().write(bytes.flip(), hostOffset);
    }

    @Override
    void doClose() throws IOException {
      closeAll(places);
    }
  }

  /** Whole clusters, compressed when this is made. They are written where they are placed. */
  static final class Compressed extends CopyStep {
    private final CompressedRun run;

    Compressed(Image target, ByteBuffer plain, long guestOffset) throws IOException {
      super(guestOffset);
      this.run = target.compress(plain, guestOffset);
    }

    @Override
    void doPlace() throws IOException {
      run.write();
    }

    @Override
    void doWrite() {}

    @Override
    void doClose() {
      run.close();
    }
  }
}
