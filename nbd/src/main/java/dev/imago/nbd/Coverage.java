package dev.imago.nbd;

import dev.imago.nbd.wire.NbdProtocolException;
import java.util.Arrays;

/**
 * Which bytes of a READ have come. Pieces may come in any order, none twice; a server that scatters
 * them into more than {@link #MAX_GAPS} separate runs at a time is not waited for.
 */
final class Coverage {
  /** Separate runs that are kept in mind. */
  static final int MAX_GAPS = 4096;

  private final long start;
  private final long end;

  /** Begins and ends of runs in turn, ascending; runs do not touch. */
  private long[] runs = new long[4];

  private int used;

  /** Nothing of the request has come. */
  Coverage(long offset, long length) {
    this.start = offset;
    this.end = offset + length;
  }

  /** Notes that a run has come. */
  void add(long offset, long length) throws NbdProtocolException {
    if (offset < start || length < 1 || length > end - offset) {
      throw new NbdProtocolException(
          "reply to READ: %d bytes at %d are no part of %d bytes at %d"
              .formatted(length, offset, end - start, start));
    }
    int next = 0;
    while (next < used && runs[next] < offset) {
      next += 2;
    }
    boolean twice =
        next > 0 && runs[next - 1] > offset || next < used && runs[next] < offset + length;
    if (twice) {
      throw new NbdProtocolException(
          "reply to READ: %d bytes at %d overlap others".formatted(length, offset));
    }
    boolean touchesLeft = next > 0 && runs[next - 1] == offset;
    boolean touchesRight = next < used && runs[next] == offset + length;
    if (touchesLeft && touchesRight) {
      System.arraycopy(runs, next + 1, runs, next - 1, used - next - 1);
      used -= 2;
    } else if (touchesLeft) {
      runs[next - 1] = offset + length;
    } else if (touchesRight) {
      runs[next] = offset;
    } else {
      insert(next, offset, offset + length);
    }
  }

  private void insert(int at, long from, long to) throws NbdProtocolException {
    if (used == 2 * MAX_GAPS) {
      throw new NbdProtocolException(
          "reply to READ: scattered over more than %d pieces".formatted(MAX_GAPS));
    }
    if (used == runs.length) {
      runs = Arrays.copyOf(runs, 2 * used);
    }
    System.arraycopy(runs, at, runs, at + 2, used - at);
    runs[at] = from;
    runs[at + 1] = to;
    used += 2;
  }

  /** Refuses a reply that ends before everything has come. */
  void requireAll() throws NbdProtocolException {
    if (start < end && (used != 2 || runs[0] != start || runs[1] != end)) {
      throw new NbdProtocolException(
          "reply to READ: it has ended, and bytes of %d at %d are missing"
              .formatted(end - start, start));
    }
  }
}
