package dev.imago.qcow2;

import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Metadata is made of big-endian 64-bit words. */
final class Words {
  private Words() {}

  /** Reads words; behind the storage's end they are 0. */
  static long[] read(Storage storage, long hostOffset, int count) throws IOException {
    long[] words = new long[count];
    try (Buffers.Lease lease = Buffers.take(count * Geometry.ENTRY_BYTES)) {
      ByteBuffer buffer = lease.buffer();
      storage.read(buffer, hostOffset);
      buffer.flip().asLongBuffer().get(words);
    }
    return words;
  }

  /** Words as they go to the disk. */
  static ByteBuffer bytes(long[] words) {
    ByteBuffer buffer = ByteBuffer.allocate(words.length * Geometry.ENTRY_BYTES);
    buffer.asLongBuffer().put(words);
    return buffer;
  }
}
