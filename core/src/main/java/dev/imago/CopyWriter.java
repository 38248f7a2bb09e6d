package dev.imago;

import dev.imago.CopyPlan.Kind;
import dev.imago.CopyPlan.Piece;
import dev.imago.image.Image;
import dev.imago.internal.Buffers;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/** Brings batches of a copy into the target. Used by many threads, each of which has its jobs. */
final class CopyWriter {
  /** Zeroes are looked for in units of this many bytes, or of less if the sparse size asks it. */
  private static final int UNIT = 4096;

  private final Image target;
  private final boolean targetIsZero;
  private final boolean compressed;
  private final CopyOrder order;
  private final Turns turns;
  private final int cluster;
  private final int unit;
  private final int shortest;
  private final @Nullable Salvage salvage;

  /** Until storages have been found that do not copy. */
  private final AtomicBoolean offload = new AtomicBoolean(true);

  /**
   * Takes note of what is known of the target.
   *
   * @param targetIsZero whether zeroes need not be written
   * @param sparseSize the shortest run of zeroes that is not written as data; 0 for none
   * @param compressed whether data is compressed
   * @param order with {@link CopyOrder#PLACES} {@link Job#place} alone decides where the target
   *     keeps anything; for new targets
   * @param salvage takes what cannot be read; null if that ends the copy
   */
  CopyWriter(
      Image target,
      boolean targetIsZero,
      int sparseSize,
      boolean compressed,
      CopyOrder order,
      @Nullable Salvage salvage) {
    this.salvage = salvage;
    this.target = target;
    this.targetIsZero = targetIsZero;
    this.compressed = compressed;
    this.order = order;
    this.turns = new Turns(order != CopyOrder.FREE);
    this.cluster = target.clusterSize();
    // Zeroes in a part of a cluster that holds something else cost more than data would.
    int least = targetIsZero && !compressed ? 0 : cluster;
    this.unit = Math.max(Math.min(UNIT, Integer.lowestOneBit(sparseSize)), least);
    // Compressed clusters are written as a whole or not at all.
    int shortestRun = compressed ? cluster : Math.max(sparseSize, least);
    this.shortest = sparseSize == 0 ? 0 : shortestRun;
  }

  /**
   * Does a worker's part of a copy: batches, until none is left.
   *
   * @param chunk in bytes; as long as the longest batch with data
   */
  void work(Workers workers, CopyPlan plan, Pace pace, int chunk) throws IOException {
    try (Buffers.Lease lease = Buffers.take(chunk)) {
      List<Piece> batch = new ArrayList<>();
      while (!workers.stopped()) {
        long number = plan.draw(batch);
        if (number < 0) {
          break;
        }
        pace.await(Piece.data(batch));
        try (Job job = new Job(lease.buffer())) {
          job.prepare(batch);
          if (!turns.take(number, job::place)) {
            return;
          }
          job.write();
        }
        plan.finished(batch.stream().mapToLong(Piece::length).sum());
      }
    } catch (IOException | RuntimeException | Error e) {
      workers.fail(e);
      turns.abandon();
      throw e;
    }
  }

  /**
   * One batch on its way: prepared, then placed, then written. Closing gives back what was placed
   * and not written.
   */
  private final class Job implements Closeable {
    private final ByteBuffer buffer;
    private final List<CopyStep> zeroes = new ArrayList<>();
    private final List<CopyStep> data = new ArrayList<>();

    /** Runs of data in the buffer, ascending: pairs of first byte and byte behind the last. */
    private final List<int[]> runs = new ArrayList<>();

    /** The target's guest offset of the buffer's first byte. */
    private long base;

    private Job(ByteBuffer buffer) {
      this.buffer = buffer;
    }

    /**
     * Reads, looks for zeroes, compresses.
     *
     * @throws ConvertException if a source cannot be read
     */
    void prepare(List<Piece> batch) throws IOException {
      Piece first = batch.getFirst();
      base = first.targetOffset() / cluster * cluster;
      if (batch.size() == 1 && first.kind() == Kind.ZERO) {
        zero(first.targetOffset(), first.length());
        return;
      }
      if (compressed) {
        compress(batch);
        return;
      }
      for (Piece piece : batch) {
        if (piece.kind() == Kind.DATA) {
          copy(piece);
        } else if (piece.kind() == Kind.PLAIN) {
          offload(piece);
        } else if (piece.kind() == Kind.ZERO) {
          zero(piece.targetOffset(), piece.length());
        }
      }
      for (int from = 0; from < runs.size(); ) {
        int to = from + 1;
        while (to < runs.size() && touch(runs.get(to - 1), runs.get(to))) {
          to++;
        }
        List<int[]> together = List.copyOf(runs.subList(from, to));
        data.add(step(together));
        from = to;
      }
      data.sort(Comparator.comparingLong(CopyStep::targetOffset));
    }

    private void copy(Piece piece) throws IOException {
      read(piece);
      scan(piece.targetOffset(), piece.length());
    }

    /**
     * Leaves what there is of whole clusters to the storages. The rest is copied as always, because
     * a cluster may have its other bytes from another piece.
     */
    private void offload(Piece piece) throws IOException {
      // Storages share whole blocks, of this size at least.
      int whole = Math.max(cluster, UNIT);
      long start = piece.targetOffset();
      long end = start + piece.length();
      long from = (start + whole - 1) / whole * whole;
      if (from == 0 && cluster == 1) {
        from = whole; // a raw image looks at what is written to its first sector
      }
      long to = end == target.size() ? end : end / whole * whole;
      // Placed in order, nothing may depend on the moment when that was found out.
      boolean placedFirst = order == CopyOrder.PLACES;
      if (from >= to || !placedFirst && !offload.get()) {
        copy(piece);
        return;
      }
      if (from > start) {
        copy(piece.head(from - start));
      }
      Piece middle = piece.behind(from - start).head(to - from);
      ByteBuffer own = buffer.clear().slice((int) (from - base), (int) (to - from));
      data.add(new CopyStep.Offloaded(target, middle, own, placedFirst, offload));
      if (end > to) {
        copy(piece.behind(to - start));
      }
    }

    private CopyStep step(List<int[]> together) {
      if (order != CopyOrder.PLACES) {
        boolean atOnce = order == CopyOrder.WRITES;
        return new CopyStep.Plain(target, buffer, base, together, atOnce);
      }
      // Between runs of one cluster there may be zeroes of a step before: then each needs a
      // reservation of its own, of which a cluster can have one at a time.
      return targetIsZero || together.size() == 1
          ? new CopyStep.Reserved(target, buffer, base, together)
          : new CopyStep.Plain(target, buffer, base, together, true);
    }

    /** Whether two runs have a cluster in common. */
    private boolean touch(int[] one, int[] next) {
      return (one[1] - 1) / cluster == next[0] / cluster;
    }

    private void read(Piece piece) throws ConvertException {
      int from = (int) (piece.targetOffset() - base);
      try {
        piece.source().read(buffer.clear().slice(from, (int) piece.length()), piece.sourceOffset());
      } catch (IOException e) {
        if (salvage == null) {
          throw new ConvertException(false, piece.targetOffset(), e);
        }
        salvage.read(piece, buffer.clear().slice(from, (int) piece.length()));
      }
    }

    /** Notes the data and the zeroes of a range in the buffer. */
    private void scan(long targetOffset, long length) throws IOException {
      int from = (int) (targetOffset - base);
      int to = from + (int) length;
      if (shortest == 0) {
        runs.add(new int[] {from, to});
        return;
      }
      ZeroScan.split(
          buffer,
          from,
          to,
          targetOffset,
          unit,
          shortest,
          (zero, start, end) -> {
            if (!zero) {
              runs.add(new int[] {start, end});
            } else if (!targetIsZero) {
              zero(base + start, end - start);
            }
          });
    }

    private void zero(long targetOffset, long length) {
      zeroes.add(new CopyStep.Zeroes(target, targetOffset, length));
    }

    /** Compresses whole clusters; what pieces leave out of them is the target's. */
    private void compress(List<Piece> batch) throws IOException {
      for (int from = 0; from < batch.size(); ) {
        long start = batch.get(from).targetOffset() / cluster * cluster;
        long end = clusterEnd(batch.get(from));
        int to = from + 1;
        while (to < batch.size() && batch.get(to).targetOffset() < end) {
          end = clusterEnd(batch.get(to));
          to++;
        }
        assemble(batch.subList(from, to), start, end);
        scan(start, end - start);
        from = to;
      }
      for (int[] run : runs) {
        ByteBuffer plain = buffer.clear().slice(run[0], run[1] - run[0]);
        try {
          data.add(new CopyStep.Compressed(target, plain, base + run[0]));
        } catch (IOException e) {
          throw new ConvertException(true, base + run[0], e);
        }
      }
    }

    private long clusterEnd(Piece piece) {
      long end = piece.targetOffset() + piece.length();
      return Math.min(target.size(), (end + cluster - 1) / cluster * cluster);
    }

    private void assemble(List<Piece> pieces, long start, long end) throws ConvertException {
      long given = pieces.stream().mapToLong(Piece::length).sum();
      if (given < end - start) {
        try {
          target.read(buffer.clear().slice((int) (start - base), (int) (end - start)), start);
        } catch (IOException e) {
          throw new ConvertException(false, start, e);
        }
      }
      for (Piece piece : pieces) {
        if (piece.kind() == Kind.DATA) {
          read(piece);
        } else {
          int from = (int) (piece.targetOffset() - base);
          Buffers.zero(buffer.clear().slice(from, (int) piece.length()));
        }
      }
    }

    /** Finds or makes the places; in the batches' order if places are to follow from that. */
    void place() throws ConvertException {
      // Zeroes first: part of a cluster is not zeroed while the rest is reserved.
      for (CopyStep step : zeroes) {
        step.place();
      }
      for (CopyStep step : data) {
        step.place();
      }
    }

    /** Writes what {@link #place} has not. */
    void write() throws ConvertException {
      for (CopyStep step : data) {
        step.write();
      }
    }

    @Override
    public void close() throws ConvertException {
      ConvertException failure = null;
      for (CopyStep step : data) {
        try {
          step.close();
        } catch (ConvertException e) {
          failure = failure == null ? e : failure;
        }
      }
      if (failure != null) {
        throw failure;
      }
    }
  }
}
