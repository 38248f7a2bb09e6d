package dev.imago;

import dev.imago.storage.Storage;
import dev.imago.storage.StorageOver;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongUnaryOperator;

/** A storage that copies from any other one, as much at a time as a test says. */
final class CopyingStorage extends StorageOver {
  final AtomicLong asked = new AtomicLong();
  final AtomicLong copied = new AtomicLong();
  private final LongUnaryOperator howMuch;

  /**
   * Copies.
   *
   * @param howMuch of so many bytes are copied
   */
  CopyingStorage(Storage below, LongUnaryOperator howMuch) {
    super(below);
    this.howMuch = howMuch;
  }

  @Override
  public long copyFrom(Storage source, long sourceOffset, long hostOffset, long length)
      throws IOException {
    asked.incrementAndGet();
    int some = (int) howMuch.applyAsLong(length);
    ByteBuffer bytes = ByteBuffer.allocate(some);
    source.read(bytes, sourceOffset);
    write(bytes.flip(), hostOffset);
    copied.addAndGet(some);
    return some;
  }
}
