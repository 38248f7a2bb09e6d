package dev.imago.storage;

import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Another storage with a value of the caller's on it, so that the owner of a mapping can be
 * recognised. All requests go to the other storage as they are.
 *
 * @param <T> what the caller keeps here
 */
public final class TaggedStorage<T> extends StorageOver {
  private final T tag;

  /** Puts {@code tag} on {@code storage}, which is closed with this one. */
  public TaggedStorage(Storage storage, T tag) {
    super(storage);
    this.tag = tag;
  }

  /** What the caller put here. */
  public T tag() {
    return tag;
  }

  @Override
  public void read(ByteBuffer[] dsts, long hostOffset) throws IOException {
    below.read(dsts, hostOffset);
  }

  @Override
  public boolean prefetch(long hostOffset, long length) {
    return below.prefetch(hostOffset, length);
  }

  @Override
  public boolean readNow(ByteBuffer dst, long hostOffset) throws IOException {
    return below.readNow(dst, hostOffset);
  }

  @Override
  public void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    below.write(srcs, hostOffset);
  }

  @Override
  public long copyFrom(Storage source, long sourceOffset, long hostOffset, long length)
      throws IOException {
    return below.copyFrom(source, sourceOffset, hostOffset, length);
  }
}
