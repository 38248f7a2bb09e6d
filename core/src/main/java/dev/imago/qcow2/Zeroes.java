package dev.imago.qcow2;

import dev.imago.internal.Buffers;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Writes zeroes as bytes, where a caller wants them really written. */
final class Zeroes {
  private Zeroes() {}

  static void write(Storage storage, long hostOffset, long length) throws IOException {
    long at = hostOffset;
    long end = hostOffset + length;
    while (at < end) {
      ByteBuffer part = Buffers.zeroes(end - at).duplicate();
      int count = part.remaining();
      storage.write(part, at);
      at += count;
    }
  }
}
