package dev.imago;

import dev.imago.image.CompressedRun;
import dev.imago.image.Image;
import dev.imago.image.WritableRun;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** A change of a copy's target, in two parts: where it goes, and its bytes. */
abstract sealed class CopyStep {
  private final long targetOffset;

  private CopyStep(long targetOffset) {
    this.targetOffset = targetOffset;
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
      IOException failure = null;
      for (Place place : places) {
        try {
          place.run.close();
        } catch (IOException e) {
          failure = failure == null ? e : failure;
        }
      }
      if (failure != null) {
        throw failure;
      }
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
