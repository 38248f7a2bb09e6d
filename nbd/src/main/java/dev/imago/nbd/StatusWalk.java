package dev.imago.nbd;

import dev.imago.nbd.NbdClient.Status;
import dev.imago.storage.Storage.Run;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Tells what an export holds, and keeps what the server told beyond the question: one who walks
 * over the export asks it once for many runs. Each byte of an answer is told once, and then asked
 * for again, so that nobody goes on with what was true long ago. A change in between makes the
 * answer void.
 */
final class StatusWalk {
  /** What is asked for beyond the question, in bytes. */
  private static final long AHEAD = 1L << 30;

  private final NbdClient client;

  private List<Status> runs = List.of();
  private int next;

  /** Where the run {@link #next} begins; what is before was told or is void. */
  private long from;

  /** Counts changes, so that an answer that was under way during one is not kept. */
  private long changes;

  StatusWalk(NbdClient client) {
    this.client = client;
  }

  /** What is kept at an offset below the size; {@code maxLength} ends within the size. */
  Run run(long offset, long maxLength) throws IOException {
    if (!client.canTellStatus()) {
      return new Run(true, maxLength);
    }
    Run kept = take(offset, maxLength);
    return kept != null ? kept : ask(offset, maxLength);
  }

  private synchronized @Nullable Run take(long offset, long maxLength) {
    while (next < runs.size() && from + runs.get(next).length() <= offset) {
      from += runs.get(next).length();
      next++;
    }
    return next < runs.size() && from <= offset ? tell(offset, maxLength) : null;
  }

  /** Tells of the run that {@code offset} is in, and of those like it behind it. */
  private Run tell(long offset, long maxLength) {
    boolean data = !runs.get(next).zero();
    long end = from;
    long limit = offset + maxLength;
    int i = next;
    while (i < runs.size() && end < limit && !runs.get(i).zero() == data) {
      end += runs.get(i++).length();
    }
    long told = Math.min(end, limit);
    // What was told lies before from now on, if only a part of a run.
    while (next < runs.size() && from + runs.get(next).length() <= told) {
      from += runs.get(next).length();
      next++;
    }
    if (next < runs.size() && from < told) {
      cutFront(told);
    }
    return new Run(data, told - offset);
  }

  private void cutFront(long told) {
    Status cut = runs.get(next);
    Status rest = new Status(cut.length() - (told - from), cut.hole(), cut.zero());
    runs = new ArrayList<>(runs.subList(next, runs.size()));
    runs.set(0, rest);
    next = 0;
    from = told;
  }

  private Run ask(long offset, long maxLength) throws IOException {
    int block = client.minimumBlock();
    long start = offset & -block;
    long length = Math.min(client.size() - start, Math.max(AHEAD, maxLength + block));
    long before = changes();
    List<Status> answer = client.blockStatus(start, length & -block);
    synchronized (this) {
      runs = answer;
      next = 0;
      from = start;
      Run run = take(offset, maxLength);
      if (run == null) {
        // Less than a block was told, which no server should do: data is never wrong.
        run = new Run(true, Math.min(maxLength, start + block - offset));
      }
      if (before != changes) {
        runs = List.of();
        next = 0;
      }
      return run;
    }
  }

  private synchronized long changes() {
    return changes;
  }

  /** The export is changed, here and now. */
  synchronized void changed(long offset, long length) {
    changes++;
    if (offset < Long.MAX_VALUE - length) {
      runs = List.of();
      next = 0;
    }
  }
}
