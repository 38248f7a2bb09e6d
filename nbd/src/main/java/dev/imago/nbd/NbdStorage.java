package dev.imago.nbd;

import dev.imago.storage.Storage;
import dev.imago.storage.StorageIoException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * An export of an NBD server as a place for images: what is read and written is the server's.
 *
 * <p>Its size is fixed. A server's smallest block may be larger than a byte; then parts of blocks
 * are read and written back, and other writers of this storage wait for that. No lock keeps other
 * clients of the server away.
 *
 * <p>{@link #discard} has the server zero the range if it says that it can do so fast, and only
 * trims otherwise, after which the range may read as anything. A zero or hole that a server tells
 * of is believed for as long as it takes to walk past it once; {@link #run} asks anew for every
 * walk.
 */
public final class NbdStorage implements Storage {
  private final NbdClient client;
  private final boolean writable;
  private final StatusWalk status;

  /** Parts of blocks are written alone, whole blocks side by side. */
  private final ReentrantReadWriteLock blocks = new ReentrantReadWriteLock();

  private NbdStorage(NbdClient client, boolean writable) {
    this.client = client;
    this.writable = writable;
    this.status = new StatusWalk(client);
  }

  /**
   * Opens an export.
   *
   * @param writable whether it may be changed
   * @throws NbdException as {@link NbdClient#connect}; or if it is to be changed, and the server
   *     does not allow that
   */
  public static NbdStorage open(NbdUri uri, boolean writable, NbdClientOptions options)
      throws NbdException {
    return of(NbdClient.connect(uri, options), writable);
  }

  /**
   * A storage over a client, which belongs to it, and is closed too if this fails.
   *
   * @throws NbdException if it is to be changed, and the server does not allow that
   */
  public static NbdStorage of(NbdClient client, boolean writable) throws NbdException {
    if (writable && client.readOnly()) {
      client.close();
      throw new NbdException(client.name(), "the server offers this export for reading only");
    }
    return new NbdStorage(client, writable);
  }

  @Override
  public String name() {
    return client.name();
  }

  @Override
  public boolean readOnly() {
    return !writable;
  }

  @Override
  public int requestAlignment() {
    return client.minimumBlock();
  }

  @Override
  public long size() {
    return client.size();
  }

  @Override
  public boolean fixedSize() {
    return true;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    check(hostOffset, dst.remaining());
    int beyond = Math.clamp(hostOffset + dst.remaining() - size(), 0, dst.remaining());
    dst.limit(dst.limit() - beyond);
    readExisting(dst, hostOffset);
    dst.limit(dst.limit() + beyond);
    while (dst.hasRemaining()) {
      dst.put((byte) 0);
    }
  }

  private void readExisting(ByteBuffer dst, long hostOffset) throws IOException {
    int mask = client.minimumBlock() - 1;
    long at = hostOffset;
    while (dst.hasRemaining()) {
      int within = (int) at & mask;
      int whole = dst.remaining() & ~mask;
      if (within == 0 && whole > 0) {
        client.read(dst.slice(dst.position(), whole), at);
        dst.position(dst.position() + whole);
        at += whole;
      } else {
        ByteBuffer block = block(at - within);
        int step = Math.min(dst.remaining(), block.capacity() - within);
        dst.put(block.slice(within, step));
        at += step;
      }
    }
  }

  /** A block of the smallest size, as it is. */
  private ByteBuffer block(long start) throws IOException {
    ByteBuffer block = ByteBuffer.allocate(client.minimumBlock());
    client.read(block, start);
    return block.flip();
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    write(new ByteBuffer[] {src}, hostOffset);
  }

  @Override
  public void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    requireWritable();
    long length = 0;
    for (ByteBuffer src : srcs) {
      length += src.remaining();
    }
    requireRoom("write", hostOffset, length);
    change(
        hostOffset,
        length,
        (block, within, count) -> {
          for (ByteBuffer src : srcs) {
            int step = Math.min(src.remaining(), count - (block.position() - within));
            block.put(src.slice(src.position(), step));
            src.position(src.position() + step);
          }
        },
        (at, count) -> client.write(cut(srcs, count), at, false));
  }

  /** The next bytes of buffers, which are moved past them. */
  private static ByteBuffer[] cut(ByteBuffer[] srcs, long count) {
    ByteBuffer[] parts = new ByteBuffer[srcs.length];
    long left = count;
    for (int i = 0; i < srcs.length; i++) {
      ByteBuffer src = srcs[i];
      int step = (int) Math.min(left, src.remaining());
      parts[i] = src.slice(src.position(), step);
      src.position(src.position() + step);
      left -= step;
    }
    return parts;
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    requireWritable();
    requireRoom("write of zeroes", hostOffset, length);
    change(
        hostOffset,
        length,
        NbdStorage::zero,
        (at, count) -> {
          if (client.canWriteZeroes()) {
            client.writeZeroes(at, count, mode == ZeroMode.ALLOCATED, false, false);
          } else {
            writeOut(at, count);
          }
        });
  }

  private static void zero(ByteBuffer block, int within, int count) {
    for (int i = 0; i < count; i++) {
      block.put((byte) 0);
    }
  }

  private void writeOut(long hostOffset, long length) throws IOException {
    ByteBuffer zeroes = ByteBuffer.allocateDirect((int) Math.min(length, 1 << 20));
    for (long done = 0; done < length; ) {
      int step = (int) Math.min(length - done, zeroes.capacity());
      client.write(new ByteBuffer[] {zeroes.slice(0, step)}, hostOffset + done, false);
      done += step;
    }
  }

  @Override
  public boolean zeroesCheaply() {
    return client.canWriteZeroes();
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    requireWritable();
    check(hostOffset, length);
    int mask = client.minimumBlock() - 1;
    long end = Math.min(hostOffset + length, size());
    long from = (hostOffset + mask) & ~mask;
    long to = end & ~mask;
    boolean zero = false;
    if (from < to) {
      status.changed(from, to - from);
      try {
        zero = discardBlocks(from, to - from);
      } finally {
        status.changed(from, to - from);
      }
    }
    return zero ? from == hostOffset && to == end : hostOffset >= end;
  }

  /** Whether whole blocks read as zero now. */
  private boolean discardBlocks(long from, long length) throws IOException {
    if (client.canZeroFast()) {
      try {
        client.writeZeroes(from, length, false, true, false);
        return true;
      } catch (StorageIoException e) {
        // Not fast here: nothing was changed by the piece that failed.
      }
    }
    if (client.canTrim()) {
      client.trim(from, length);
    }
    return false;
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    if (hostOffset < 0 || maxLength < 1) {
      throw new IllegalArgumentException(
          "no such range: " + maxLength + " bytes at host offset " + hostOffset);
    }
    return status.run(hostOffset, Math.min(maxLength, Math.max(1, size() - hostOffset)));
  }

  /** {@inheritDoc} An export keeps its size: asking for another one is an error. */
  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    requireWritable();
    if (size != size()) {
      throw new StorageIoException(name(), "an NBD export cannot be resized");
    }
  }

  @Override
  public void flush() throws IOException {
    if (writable) {
      client.flush();
    }
  }

  @Override
  public void invalidateCache() {
    status.changed(0, size());
  }

  @Override
  public void close() {
    client.close();
  }

  /** Puts new bytes into a part of a block, from its position on. */
  private interface Patch {
    void apply(ByteBuffer block, int within, int count);
  }

  /** Does something to whole blocks. */
  private interface Whole {
    void apply(long at, long count) throws IOException;
  }

  /** Changes a range: whole blocks in one go, what is left at its ends block by block. */
  private void change(long hostOffset, long length, Patch patch, Whole whole) throws IOException {
    int mask = client.minimumBlock() - 1;
    boolean partly = ((hostOffset | length) & mask) != 0;
    var lock = partly ? blocks.writeLock() : blocks.readLock();
    lock.lock();
    try {
      status.changed(hostOffset, length);
      for (long done = 0; done < length; ) {
        long at = hostOffset + done;
        int within = (int) at & mask;
        long run = length - done & ~mask;
        if (within == 0 && run > 0) {
          whole.apply(at, run);
          done += run;
        } else {
          int step = (int) Math.min(length - done, mask + 1 - within);
          ByteBuffer block = block(at - within);
          patch.apply(block.position(within), within, step);
          client.write(new ByteBuffer[] {block.position(0)}, at - within, false);
          done += step;
        }
      }
    } finally {
      status.changed(hostOffset, length);
      lock.unlock();
    }
  }

  private void requireWritable() {
    if (!writable) {
      throw new IllegalStateException(name() + " is open read-only");
    }
  }

  private void requireRoom(String what, long hostOffset, long length) throws IOException {
    check(hostOffset, length);
    if (length > size() - hostOffset) {
      throw new StorageIoException(
          name(),
          "No space left on device",
          "%s of %d bytes, the export has %d".formatted(what, length, size()),
          hostOffset);
    }
  }

  private static void check(long hostOffset, long length) {
    if (hostOffset < 0 || length < 0 || hostOffset > Long.MAX_VALUE - length) {
      throw new IllegalArgumentException(
          "no such range: " + length + " bytes at host offset " + hostOffset);
    }
  }
}
