package dev.imago;

import dev.imago.image.Image;
import dev.imago.internal.Buffers;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Measures how fast an image serves requests of one length, each a step behind the one before, with
 * a number of them in flight. Immutable: each method with an argument returns a changed copy.
 *
 * <p>Behind the end of the disk the requests go on at its beginning; one that lies across the end
 * fails.
 */
public final class Bench {
  /** More threads would only wait for each other. */
  private static final int MOST_THREADS = 1024;

  private final boolean writes;
  private final int pattern;
  private int count = 75_000;
  private int depth = 64;
  private long start;
  private int length = 4096;
  private int step;
  private int flushInterval;
  private boolean drain;

  private Bench(boolean writes, int pattern) {
    this.writes = writes;
    this.pattern = pattern;
  }

  /** 75,000 reads of 4096 bytes, one behind the other from guest offset 0 on, 64 in flight. */
  public static Bench reads() {
    return new Bench(false, 0);
  }

  /**
   * The same of writes. They overwrite what the disk holds.
   *
   * @param pattern the byte that is written, 0 to 255; zeroes are written as any other byte
   */
  public static Bench writes(int pattern) {
    if (pattern < 0 || pattern > 255) {
      throw new IllegalArgumentException("pattern " + pattern);
    }
    return new Bench(true, pattern);
  }

  private Bench copy() {
    Bench copy = new Bench(writes, pattern);
    copy.count = count;
    copy.depth = depth;
    copy.start = start;
    copy.length = length;
    copy.step = step;
    copy.flushInterval = flushInterval;
    copy.drain = drain;
    return copy;
  }

  /** How many requests, not negative. */
  public Bench count(int count) {
    Bench copy = copy();
    copy.count = atLeast(0, count, "count");
    return copy;
  }

  /**
   * How many requests are in flight, at least 1: each has a thread of its own and a buffer. Beyond
   * 1024 there are no more.
   */
  public Bench depth(int depth) {
    Bench copy = copy();
    copy.depth = atLeast(1, depth, "depth");
    return copy;
  }

  /** Guest offset of the first request, not negative. */
  public Bench start(long guestOffset) {
    Bench copy = copy();
    copy.start = atLeast(0, guestOffset, "start");
    return copy;
  }

  /** Bytes of a request, not negative. */
  public Bench length(int length) {
    Bench copy = copy();
    copy.length = atLeast(0, length, "length");
    return copy;
  }

  /** Bytes from the beginning of a request to that of the next one; 0 for its length. */
  public Bench step(int step) {
    Bench copy = copy();
    copy.step = atLeast(0, step, "step");
    return copy;
  }

  /**
   * Flushes whenever so many requests have been made; 0 never does.
   *
   * @param drain whether to wait for all requests in flight before, and for the flush before the
   *     next request
   */
  public Bench flushEvery(int requests, boolean drain) {
    Bench copy = copy();
    copy.flushInterval = atLeast(0, requests, "flush interval");
    copy.drain = drain;
    return copy;
  }

  private static <T extends Number> T atLeast(int least, T value, String what) {
    if (value.longValue() < least) {
      throw new IllegalArgumentException(what + " " + value);
    }
    return value;
  }

  /**
   * Makes all requests. The image is not flushed at the end.
   *
   * @return how long it took, in nanoseconds
   * @throws EOFException if a request lies behind the end of the disk, or across it; those before
   *     it were made
   */
  public long run(Image image) throws IOException {
    if (image.size() == 0 && count > 0) {
      throw new EOFException("%s: a disk of 0 bytes serves no requests".formatted(image.name()));
    }
    long group = flushInterval == 0 ? Long.MAX_VALUE : flushInterval;
    var tickets = new BenchTickets(count, group, drain, image::flush);
    int threads = Math.clamp(Math.min(count, depth), 1, MOST_THREADS);
    long before = System.nanoTime();
    Workers.run("imago-bench", threads, workers -> work(workers, tickets, image));
    return System.nanoTime() - before;
  }

  private void work(Workers workers, BenchTickets tickets, Image image) throws IOException {
    try {
      long number = tickets.draw();
      if (number < 0) {
        return;
      }
      requireInside(image, guestOffset(number, image)); // before memory is taken for it
      try (Buffers.Lease lease = Buffers.take(Math.max(1, length))) {
        ByteBuffer buffer = lease.buffer().limit(length);
        if (writes) {
          fill(buffer);
        }
        while (number >= 0 && !workers.stopped()) {
          long guestOffset = guestOffset(number, image);
          requireInside(image, guestOffset);
          buffer.clear().limit(length);
          if (writes) {
            image.write(buffer, guestOffset);
          } else {
            image.read(buffer, guestOffset);
          }
          tickets.done(number);
          number = tickets.draw();
        }
      }
    } catch (IOException | RuntimeException | Error e) {
      workers.fail(e);
      throw e;
    } finally {
      tickets.stopIf(workers.stopped());
    }
  }

  private void fill(ByteBuffer buffer) {
    while (buffer.hasRemaining()) {
      buffer.put((byte) pattern);
    }
  }

  private long guestOffset(long number, Image image) {
    if (number == 0) {
      return start;
    }
    long size = image.size();
    // Both factors are below 2^31, and the sum of two remainders may pass 2^63: hence the
    // roundabout.
    long from = start % size;
    long on = (step == 0 ? length : step) * number % size;
    return from < size - on ? from + on : from - (size - on);
  }

  private void requireInside(Image image, long guestOffset) throws EOFException {
    if (guestOffset > image.size() - length) {
      throw new EOFException(
          "%s: a request of %d bytes at guest offset %d ends behind the disk's %d bytes"
              .formatted(image.name(), length, guestOffset, image.size()));
    }
  }
}
