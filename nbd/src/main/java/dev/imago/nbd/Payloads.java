package dev.imago.nbd;

import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Direct buffers for the data of requests, used again and again. How many are out at once is the
 * connections' business; of those that nobody uses, some are kept and the rest goes back to the
 * system at once, not when the garbage collector finds it.
 *
 * <p>Safe for all threads.
 */
final class Payloads {
  /** Bytes of idle buffers that are kept, at most. */
  static final long KEPT = 64 << 20;

  private static final int SMALLEST_BITS = 12;

  /** The largest power of two that an array index can hold. */
  private static final int LARGEST_BITS = 30;

  private final Shelf[] shelves = new Shelf[LARGEST_BITS - SMALLEST_BITS + 1];
  private final AtomicLong idleBytes = new AtomicLong();
  private final AtomicLong usedBytes = new AtomicLong();
  private final AtomicLong mostBytes = new AtomicLong();
  private final long kept;

  /**
   * There are none yet.
   *
   * @param kept bytes of idle buffers that are kept
   */
  Payloads(long kept) {
    this.kept = kept;
    Arrays.setAll(shelves, _ -> new Shelf());
  }

  /**
   * Takes a buffer: position 0, limit {@code size}, big endian, with anything in it.
   *
   * @param size 1 byte to 1 GiB
   */
  Payload take(int size) {
    int bits = bits(size);
    Shelf shelf = shelves[bits - SMALLEST_BITS];
    Memory memory = shelf.idle.pollFirst();
    if (memory == null) {
      memory = Memory.of(1 << bits);
    } else {
      idleBytes.addAndGet(-memory.buffer.capacity());
    }
    long used = usedBytes.addAndGet(memory.buffer.capacity());
    if (used > mostBytes.get()) {
      mostBytes.accumulateAndGet(used, Math::max);
    }
    return new Payload(this, shelf, memory, size);
  }

  private static int bits(int size) {
    return Math.max(SMALLEST_BITS, 32 - Integer.numberOfLeadingZeros(size - 1));
  }

  /** How much memory a buffer of a size has. */
  static int capacity(int size) {
    return 1 << bits(size);
  }

  /** Bytes of buffers that nobody uses now. */
  long idleBytes() {
    return idleBytes.get();
  }

  /** Bytes of buffers that are out now. */
  long usedBytes() {
    return usedBytes.get();
  }

  /** Bytes of buffers that have ever been out together. */
  long mostBytes() {
    return mostBytes.get();
  }

  private void giveBack(Shelf shelf, Memory memory) {
    int size = memory.buffer.capacity();
    usedBytes.addAndGet(-size);
    if (idleBytes.addAndGet(size) <= kept) {
      shelf.idle.addFirst(memory);
    } else {
      idleBytes.addAndGet(-size);
      memory.arena.close();
    }
  }

  /** Gives all idle buffers back to the system. Others may still be out. */
  void clear() {
    for (Shelf shelf : shelves) {
      for (Memory memory = shelf.idle.pollFirst(); memory != null; ) {
        idleBytes.addAndGet(-memory.buffer.capacity());
        memory.arena.close();
        memory = shelf.idle.pollFirst();
      }
    }
  }

  private record Memory(Arena arena, ByteBuffer buffer) {
    /** Closed when it is given back and not kept, or by {@link Payloads#clear}. */
    @SuppressWarnings("MustBeClosedChecker")
    static Memory of(int size) {
      Arena arena = Arena.ofShared();
      return new Memory(arena, arena.allocate(size, 4096).asByteBuffer());
    }
  }

  private static final class Shelf {
    final ConcurrentLinkedDeque<Memory> idle = new ConcurrentLinkedDeque<>();
  }

  /** A buffer on loan; after {@link #close} nobody may touch it. */
  static final class Payload implements AutoCloseable {
    private final Payloads owner;
    private final Shelf shelf;
    private final Memory memory;
    private final ByteBuffer buffer;
    private final AtomicBoolean closed = new AtomicBoolean();

    private Payload(Payloads owner, Shelf shelf, Memory memory, int size) {
      this.owner = owner;
      this.shelf = shelf;
      this.memory = memory;
      this.buffer = memory.buffer.slice(0, size);
    }

    /** The buffer; the same object each time. */
    ByteBuffer buffer() {
      return buffer;
    }

    /** Gives the buffer back. A second call does nothing. */
    @Override
    public void close() {
      if (closed.compareAndSet(false, true)) {
        owner.giveBack(shelf, memory);
      }
    }
  }
}
