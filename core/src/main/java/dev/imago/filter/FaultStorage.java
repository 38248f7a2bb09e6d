package dev.imago.filter;

import dev.imago.filter.FaultRule.Request;
import dev.imago.internal.RangeLock;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import dev.imago.storage.StorageIoException;
import dev.imago.storage.StorageOver;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Fails on purpose, as QEMU's {@code blkdebug} does: requests fail after certain {@linkplain
 * BlockEvent events}, and threads are held up at them. Requests can be cut and padded, to see what
 * a picky device would be asked.
 */
public final class FaultStorage extends StorageOver {
  /**
   * What requests reach the storage below; 0 for no limit.
   *
   * @param align requests are padded to multiples of this many bytes, a power of two
   * @param maxTransfer longest read or write
   * @param optWriteZero zeroes that are not whole multiples of it are written out
   * @param maxWriteZero longest request for zeroes
   * @param optDiscard what is no whole multiple of it is not discarded
   * @param maxDiscard longest discard
   */
  public record Limits(
      int align,
      int maxTransfer,
      long optWriteZero,
      long maxWriteZero,
      long optDiscard,
      long maxDiscard) {
    /** No limits. */
    public static final Limits NONE = new Limits(0, 0, 0, 0, 0, 0);
  }

  private final Limits limits;
  private final int unit;

  /** Padded writes read what lies around them: nobody may write there in between. */
  private final RangeLock padding = new RangeLock();

  private final Consumer<String> listener;

  /** Guards all below. */
  private final Object lock = new Object();

  private final List<FaultRule> rules;
  private List<FaultRule.Inject> active = new ArrayList<>();
  private final List<Breakpoint> breakpoints = new ArrayList<>();
  private final List<Breakpoint> suspended = new ArrayList<>();
  private int state = 1;
  private boolean closed;

  private record Breakpoint(BlockEvent event, String tag) {}

  /**
   * Puts faults over a storage.
   *
   * @param below closed with this one
   * @param listener told in QEMU's words when a thread is held up and goes on
   */
  public FaultStorage(
      Storage below, List<FaultRule> rules, Limits limits, Consumer<String> listener) {
    super(below);
    this.rules = new ArrayList<>(rules);
    this.limits = limits;
    this.unit = Math.max(limits.align(), 1);
    this.listener = listener;
    if (Integer.bitCount(unit) != 1) {
      throw new IllegalArgumentException("align " + unit);
    }
    event(BlockEvent.NONE);
  }

  @Override
  public int requestAlignment() {
    return Math.max(unit, below.requestAlignment());
  }

  @Override
  public void event(BlockEvent event) {
    synchronized (lock) {
      List<FaultRule.Inject> injected = new ArrayList<>();
      int newState = state;
      for (FaultRule rule : rules) {
        if (rule.event() == event && (rule.state() == 0 || rule.state() == state)) {
          switch (rule) {
            case FaultRule.Inject inject -> injected.add(inject);
            case FaultRule.SetState set -> newState = set.newState();
          }
        }
      }
      if (!injected.isEmpty()) {
        active = injected;
      }
      state = newState;
      holdUp(event);
    }
  }

  private void holdUp(BlockEvent event) {
    Breakpoint hit = null;
    for (Breakpoint each : breakpoints) {
      if (each.event() == event) {
        hit = each;
        break;
      }
    }
    if (hit == null || closed) {
      return;
    }
    breakpoints.remove(hit);
    suspended.add(hit);
    listener.accept("blkdebug: Suspended request '" + hit.tag() + "'");
    lock.notifyAll();
    awaitUninterrupted(hit);
    listener.accept("blkdebug: Resuming request '" + hit.tag() + "'");
  }

  /** Waits until a suspended request may go on. */
  @SuppressWarnings("ReferenceEquality") // one suspension, not one like it
  private void awaitUninterrupted(Breakpoint hit) {
    boolean interrupted = false;
    while (suspended.stream().anyMatch(each -> each == hit)) {
      try {
        lock.wait();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** The next thread that comes to the event stays there until it is resumed. */
  public void breakAt(BlockEvent event, String tag) {
    synchronized (lock) {
      breakpoints.add(new Breakpoint(event, tag));
    }
  }

  /** Lets a thread that is held up go on; false if none is held up under this tag. */
  public boolean resume(String tag) {
    synchronized (lock) {
      for (int i = 0; i < suspended.size(); i++) {
        if (suspended.get(i).tag().equals(tag)) {
          suspended.remove(i);
          lock.notifyAll();
          return true;
        }
      }
      return false;
    }
  }

  /** Forgets breakpoints of this tag, and lets threads go on that they hold up; false if none. */
  public boolean removeBreak(String tag) {
    synchronized (lock) {
      boolean removed = breakpoints.removeIf(each -> each.tag().equals(tag));
      boolean resumed = suspended.removeIf(each -> each.tag().equals(tag));
      lock.notifyAll();
      return removed || resumed;
    }
  }

  /**
   * Waits until a thread is held up under this tag.
   *
   * @return false if no breakpoint with this tag is set: nobody would ever come
   */
  public boolean awaitBreak(String tag) throws InterruptedException {
    synchronized (lock) {
      while (suspended.stream().noneMatch(each -> each.tag().equals(tag))) {
        if (breakpoints.stream().noneMatch(each -> each.tag().equals(tag))) {
          return false;
        }
        lock.wait();
      }
      return true;
    }
  }

  /** Lets everything that is held up go on, and holds nothing up any more. */
  public void resumeAll() {
    synchronized (lock) {
      breakpoints.clear();
      suspended.clear();
      lock.notifyAll();
    }
  }

  private void fail(Request request, long hostOffset, long length) throws IOException {
    synchronized (lock) {
      FaultRule.Inject rule = active(request, hostOffset, length);
      if (rule == null) {
        return;
      }
      if (rule.once()) {
        active.remove(rule);
        rules.remove(rule);
      }
      if (rule.errno() != 0) {
        throw StorageIoException.ofErrno(name(), rule.errno(), "injected fault", hostOffset);
      }
    }
  }

  private FaultRule.@Nullable Inject active(Request request, long hostOffset, long length) {
    for (FaultRule.Inject rule : active) {
      long at = rule.sector() * 512;
      boolean there =
          rule.sector() < 0 || (length > 0 && at >= hostOffset && at - hostOffset < length);
      if (there && rule.requests().contains(request)) {
        return rule;
      }
    }
    return null;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    try (var _ = padding.acquire(down(hostOffset), up(hostOffset + dst.remaining()), false)) {
      readPadded(dst, hostOffset);
    }
  }

  private long down(long offset) {
    return offset & -unit;
  }

  private long up(long offset) {
    return (offset + unit - 1) & -unit;
  }

  private void readPadded(ByteBuffer dst, long hostOffset) throws IOException {
    long from = down(hostOffset);
    long end = up(hostOffset + dst.remaining());
    if (from == hostOffset && end == hostOffset + dst.remaining()) {
      readPieces(dst, hostOffset);
      return;
    }
    ByteBuffer padded = ByteBuffer.allocate(Math.toIntExact(end - from));
    readPieces(padded, from);
    dst.put(padded.slice((int) (hostOffset - from), dst.remaining()));
  }

  private void readPieces(ByteBuffer dst, long hostOffset) throws IOException {
    long at = hostOffset;
    int limit = dst.limit();
    do {
      int piece = piece(limit - dst.position());
      dst.limit(dst.position() + piece);
      fail(Request.READ, at, piece);
      below.read(dst, at);
      at += piece;
      dst.limit(limit);
    } while (dst.hasRemaining());
  }

  private int piece(int length) {
    return limits.maxTransfer() == 0 ? length : Math.min(length, limits.maxTransfer());
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    long from = down(hostOffset);
    long end = up(hostOffset + src.remaining());
    boolean padded = from != hostOffset || end != hostOffset + src.remaining();
    try (var _ = padding.acquire(from, end, padded)) {
      if (!padded) {
        writePieces(src, hostOffset);
        return;
      }
      ByteBuffer whole = ByteBuffer.allocate(Math.toIntExact(end - from));
      readAround(whole, from, from != hostOffset, end != hostOffset + src.remaining());
      whole.position((int) (hostOffset - from)).put(src);
      // The padding behind the end of what is stored is no part of it.
      long stored = Math.max(below.size(), from + whole.position());
      whole.flip().limit((int) Math.min(whole.capacity(), stored - from));
      writePieces(whole, from);
    }
  }

  /** Reads what a padded write must not change: in its first block, and in its last one. */
  private void readAround(ByteBuffer whole, long from, boolean head, boolean tail)
      throws IOException {
    if (head) {
      event(BlockEvent.PWRITEV_RMW_HEAD);
      readPieces(whole.slice(0, unit), from);
      event(BlockEvent.PWRITEV_RMW_AFTER_HEAD);
    }
    int last = whole.capacity() - unit;
    if (tail && (!head || last > 0)) {
      event(BlockEvent.PWRITEV_RMW_TAIL);
      readPieces(whole.slice(last, unit), from + last);
      event(BlockEvent.PWRITEV_RMW_AFTER_TAIL);
    }
  }

  private void writePieces(ByteBuffer src, long hostOffset) throws IOException {
    long at = hostOffset;
    int limit = src.limit();
    do {
      int piece = piece(limit - src.position());
      src.limit(src.position() + piece);
      event(BlockEvent.PWRITEV);
      fail(Request.WRITE, at, piece);
      below.write(src, at);
      event(BlockEvent.PWRITEV_DONE);
      at += piece;
      src.limit(limit);
    } while (src.hasRemaining());
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    long whole = Math.max(limits.optWriteZero(), 1);
    long end = hostOffset + length;
    long first = Math.min(end, (hostOffset + whole - 1) / whole * whole);
    long last = Math.max(first, end / whole * whole);
    writeOut(hostOffset, first - hostOffset);
    long most = limits.maxWriteZero() == 0 ? Long.MAX_VALUE : limits.maxWriteZero();
    for (long at = first; at < last; ) {
      long piece = Math.min(most, last - at);
      event(BlockEvent.PWRITEV_ZERO);
      fail(Request.WRITE_ZEROES, at, piece);
      try (var _ = padding.acquire(at, at + piece, false)) {
        below.writeZeroes(at, piece, mode);
      }
      event(BlockEvent.PWRITEV_DONE);
      at += piece;
    }
    writeOut(last, end - last);
  }

  private void writeOut(long hostOffset, long length) throws IOException {
    byte[] zeroes = new byte[(int) Math.min(length, 1 << 20)];
    for (long done = 0; done < length; done += zeroes.length) {
      int piece = (int) Math.min(zeroes.length, length - done);
      write(ByteBuffer.wrap(zeroes, 0, piece), hostOffset + done);
    }
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    long whole = Math.max(limits.optDiscard(), 1);
    long end = hostOffset + length;
    long first = Math.min(end, (hostOffset + whole - 1) / whole * whole);
    long last = Math.max(first, end / whole * whole);
    long most = limits.maxDiscard() == 0 ? Long.MAX_VALUE : limits.maxDiscard();
    boolean zero = first == hostOffset && last == end;
    for (long at = first; at < last; ) {
      long piece = Math.min(most, last - at);
      fail(Request.DISCARD, at, piece);
      try (var _ = padding.acquire(at, at + piece, false)) {
        zero &= below.discard(at, piece);
      }
      at += piece;
    }
    return zero;
  }

  @Override
  public void flush() throws IOException {
    event(BlockEvent.FLUSH_TO_DISK);
    fail(Request.FLUSH, 0, 0);
    below.flush();
  }

  @Override
  public void close() throws IOException {
    synchronized (lock) {
      closed = true;
    }
    resumeAll();
    below.close();
  }
}
