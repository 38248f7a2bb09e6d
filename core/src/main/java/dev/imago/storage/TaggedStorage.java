package dev.imago.storage;

import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Another storage with a value of the caller's on it, so that the owner of a mapping can be
 * recognised. All requests go to the other storage as they are.
 *
 * @param <T> what the caller keeps here
 */
public final class TaggedStorage<T> implements Storage {
  private final Storage storage;
  private final T tag;

  /** Puts {@code tag} on {@code storage}, which is closed with this one. */
  public TaggedStorage(Storage storage, T tag) {
    this.storage = storage;
    this.tag = tag;
  }

  /** What the caller put here. */
  public T tag() {
    return tag;
  }

  @Override
  public String name() {
    return storage.name();
  }

  @Override
  public boolean readOnly() {
    return storage.readOnly();
  }

  @Override
  public int requestAlignment() {
    return storage.requestAlignment();
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    storage.read(dst, hostOffset);
  }

  @Override
  public void read(ByteBuffer[] dsts, long hostOffset) throws IOException {
    storage.read(dsts, hostOffset);
  }

  @Override
  public boolean readNow(ByteBuffer dst, long hostOffset) throws IOException {
    return storage.readNow(dst, hostOffset);
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    storage.write(src, hostOffset);
  }

  @Override
  public void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    storage.write(srcs, hostOffset);
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    storage.writeZeroes(hostOffset, length, mode);
  }

  @Override
  public boolean zeroesCheaply() {
    return storage.zeroesCheaply();
  }

  @Override
  public boolean holesReadAsZero() {
    return storage.holesReadAsZero();
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    return storage.discard(hostOffset, length);
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    return storage.run(hostOffset, maxLength);
  }

  @Override
  public long size() throws IOException {
    return storage.size();
  }

  @Override
  public long allocatedBytes() throws IOException {
    return storage.allocatedBytes();
  }

  @Override
  public boolean fixedSize() {
    return storage.fixedSize();
  }

  @Override
  public void resize(long size, Preallocation preallocation) throws IOException {
    storage.resize(size, preallocation);
  }

  @Override
  public void event(BlockEvent event) {
    storage.event(event);
  }

  @Override
  public void flush() throws IOException {
    storage.flush();
  }

  @Override
  public void invalidateCache() throws IOException {
    storage.invalidateCache();
  }

  @Override
  public void close() throws IOException {
    storage.close();
  }
}
