package dev.imago.testing;

import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/** A storage over another one that fails, runs full or stops in the middle, as it is told. */
public final class FaultyStorage implements Storage {
  private static final int BLOCK = 4096;
  private static final long PATIENCE_SECONDS = 120;

  /**
   * A call that is about to be made.
   *
   * @param number counts the calls of this kind from 1
   * @param hostOffset 0 for flush, resize and close
   * @param length in bytes; the new size for a resize
   */
  public record Request(StorageCall call, long number, long hostOffset, long length) {
    /** Whether it speaks of any byte of a range. */
    public boolean touches(long from, long bytes) {
      return hostOffset < from + bytes && from < hostOffset + length;
    }
  }

  /** A place where one call is held up, until it is told to go on. */
  public static final class Pause {
    private final Predicate<Request> which;
    private final boolean before;
    private final CountDownLatch reached = new CountDownLatch(1);
    private final CountDownLatch resumed = new CountDownLatch(1);

    private Pause(Predicate<Request> which, boolean before) {
      this.which = which;
      this.before = before;
    }

    /** Waits until a call stands here. */
    public void awaitReached() throws InterruptedException {
      if (!reached.await(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
        throw new AssertionError("no call came to the pause");
      }
    }

    /** Whether a call came here. */
    public boolean reached() {
      return reached.getCount() == 0;
    }

    /** Lets the call go on; if none has come yet, none will be held up. */
    public void resume() {
      resumed.countDown();
    }

    private void hold() {
      reached.countDown();
      boolean interrupted = false;
      while (true) {
        try {
          if (!resumed.await(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
            throw new AssertionError("nobody resumed the pause");
          }
          break;
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private record Failure(Predicate<Request> which, boolean halfDone, String message) {}

  private interface Body {
    void run() throws IOException;
  }

  private final Storage inner;
  private final Map<StorageCall, Long> numbers = new EnumMap<>(StorageCall.class);
  private final List<Failure> failures = new ArrayList<>();
  private final List<Predicate<Request>> skipped = new ArrayList<>();
  private final List<Pause> pauses = new ArrayList<>();
  private final Set<Long> usedBlocks = new HashSet<>();
  private long freeBlocks = Long.MAX_VALUE;
  private boolean closed;

  /** Passes everything on until told otherwise; owns {@code inner}. */
  public FaultyStorage(Storage inner) {
    this.inner = inner;
  }

  /** Calls for which this is true throw an {@link IOException} and do nothing. */
  public synchronized void failWhen(Predicate<Request> which) {
    failures.add(new Failure(which, false, "Input/output error"));
  }

  /** Writes for which this is true do half of their work, then throw. */
  public synchronized void cutShortWhen(Predicate<Request> which) {
    failures.add(new Failure(which, true, "Input/output error"));
  }

  /** Calls for which this is true return as if all were well, and do nothing: a disk that lies. */
  public synchronized void skipWhen(Predicate<Request> which) {
    skipped.add(which);
  }

  /** The {@code number}-th call of a kind, counted from 1, throws. */
  public void failNth(StorageCall call, long number) {
    failWhen(r -> r.call() == call && r.number() == number);
  }

  /** All is well again. */
  public synchronized void heal() {
    failures.clear();
    skipped.clear();
    freeBlocks = Long.MAX_VALUE;
  }

  /** From now on writes get only this much new host space, in bytes; discards give some back. */
  public synchronized void fullAfter(long bytes) throws IOException {
    usedBlocks.clear();
    for (long at = 0; at < inner.size(); ) {
      Run run = inner.run(at, inner.size() - at);
      if (run.data()) {
        blocks(at, run.length()).forEach(usedBlocks::add);
      }
      at += run.length();
    }
    freeBlocks = bytes / BLOCK;
  }

  /** The next call for which this is true waits before it does anything. */
  public synchronized Pause pauseBefore(Predicate<Request> which) {
    Pause pause = new Pause(which, true);
    pauses.add(pause);
    return pause;
  }

  /** The next call for which this is true waits after its work, before it returns. */
  public synchronized Pause pauseAfter(Predicate<Request> which) {
    Pause pause = new Pause(which, false);
    pauses.add(pause);
    return pause;
  }

  /** How many calls of a kind there were. */
  public synchronized long calls(StorageCall call) {
    return numbers.getOrDefault(call, 0L);
  }

  /** Whether it was closed. */
  public synchronized boolean closed() {
    return closed;
  }

  @Override
  public String name() {
    return inner.name();
  }

  @Override
  public boolean readOnly() {
    return inner.readOnly();
  }

  @Override
  public int requestAlignment() {
    return inner.requestAlignment();
  }

  @Override
  public boolean zeroesCheaply() {
    return inner.zeroesCheaply();
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    Request request = request(StorageCall.READ, hostOffset, dst.remaining());
    around(request, () -> inner.read(dst, hostOffset), () -> {});
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    Request request = request(StorageCall.WRITE, hostOffset, src.remaining());
    ByteBuffer half = src.duplicate();
    half.limit(half.position() + half.remaining() / 2);
    around(request, () -> inner.write(src, hostOffset), () -> inner.write(half, hostOffset));
  }

  @Override
  public void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    long length = 0;
    for (ByteBuffer src : srcs) {
      length += src.remaining();
    }
    Request request = request(StorageCall.WRITEV, hostOffset, length);
    ByteBuffer first = srcs.length == 0 ? ByteBuffer.allocate(0) : srcs[0].duplicate();
    around(request, () -> inner.write(srcs, hostOffset), () -> inner.write(first, hostOffset));
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    around(
        request(StorageCall.ZERO, hostOffset, length),
        () -> inner.writeZeroes(hostOffset, length, mode),
        () -> inner.writeZeroes(hostOffset, length / 2, mode));
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    boolean[] whole = {false};
    around(
        request(StorageCall.DISCARD, hostOffset, length),
        () -> whole[0] = inner.discard(hostOffset, length),
        () -> inner.discard(hostOffset, length / 2));
    giveBack(hostOffset, length);
    return whole[0];
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    return inner.run(hostOffset, maxLength);
  }

  @Override
  public long size() throws IOException {
    return inner.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return inner.allocatedBytes();
  }

  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    Request request = request(StorageCall.RESIZE, 0, size);
    around(request, () -> inner.resize(size, preallocation), () -> {});
  }

  @Override
  public void flush() throws IOException {
    around(request(StorageCall.FLUSH, 0, 0), inner::flush, () -> {});
  }

  @Override
  public void invalidateCache() throws IOException {
    inner.invalidateCache();
  }

  @Override
  public void close() throws IOException {
    synchronized (this) {
      closed = true;
    }
    Request request = request(StorageCall.CLOSE, 0, 0);
    hold(request, true);
    inner.close();
    if (failure(request) != null) {
      throw new IOException(name() + ": Input/output error");
    }
  }

  private synchronized Request request(StorageCall call, long hostOffset, long length) {
    return new Request(call, numbers.merge(call, 1L, Long::sum), hostOffset, length);
  }

  private void around(Request request, Body work, Body half) throws IOException {
    hold(request, true);
    Failure failure = failure(request);
    if (failure != null) {
      if (failure.halfDone) {
        half.run();
      }
      throw new IOException(name() + ": " + failure.message);
    }
    if (!skips(request)) {
      work.run();
    }
    hold(request, false);
  }

  private synchronized boolean skips(Request request) {
    return skipped.stream().anyMatch(which -> which.test(request));
  }

  private void hold(Request request, boolean before) {
    Pause found = null;
    synchronized (this) {
      for (Pause pause : pauses) {
        if (pause.before == before && pause.which.test(request)) {
          found = pause;
          pauses.remove(pause);
          break;
        }
      }
    }
    if (found != null) {
      found.hold();
    }
  }

  private synchronized @Nullable Failure failure(Request request) {
    for (Failure failure : failures) {
      if (failure.which.test(request)) {
        return failure;
      }
    }
    return switch (request.call()) {
      case WRITE, WRITEV, ZERO -> full(request.hostOffset(), request.length());
      default -> null;
    };
  }

  private @Nullable Failure full(long hostOffset, long length) {
    if (freeBlocks == Long.MAX_VALUE) {
      return null;
    }
    for (long block : blocks(hostOffset, length)) {
      if (!usedBlocks.contains(block)) {
        if (freeBlocks == 0) {
          return new Failure(r -> true, true, "No space left on device");
        }
        freeBlocks--;
        usedBlocks.add(block);
      }
    }
    return null;
  }

  private synchronized void giveBack(long hostOffset, long length) {
    if (freeBlocks == Long.MAX_VALUE) {
      return;
    }
    for (long block : blocks(hostOffset, length)) {
      boolean whole = block * BLOCK >= hostOffset && (block + 1) * BLOCK <= hostOffset + length;
      if (whole && usedBlocks.remove(block)) {
        freeBlocks++;
      }
    }
  }

  private static List<Long> blocks(long hostOffset, long length) {
    List<Long> all = new ArrayList<>();
    for (long block = hostOffset / BLOCK; block * BLOCK < hostOffset + length; block++) {
      all.add(block);
    }
    return all;
  }
}
