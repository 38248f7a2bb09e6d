package dev.imago.qcow2;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Hands out a request's buffers piece by piece, moving their positions along. */
final class Gather {
  private final ByteBuffer[] buffers;
  private int current;

  Gather(ByteBuffer[] buffers) {
    this.buffers = buffers;
  }

  static long remaining(ByteBuffer[] buffers) {
    long sum = 0;
    for (ByteBuffer buffer : buffers) {
      sum += buffer.remaining();
    }
    return sum;
  }

  /**
   * Views of the next bytes. The buffers count as used up to there even if what the views are used
   * for fails.
   *
   * @param before put before them, unless null-like empty
   * @param after put behind them
   */
  ByteBuffer[] next(List<ByteBuffer> before, long length, List<ByteBuffer> after) {
    List<ByteBuffer> views = new ArrayList<>(before);
    long missing = length;
    while (missing > 0) {
      ByteBuffer buffer = buffers[current];
      if (!buffer.hasRemaining()) {
        current++;
        continue;
      }
      int part = (int) Math.min(buffer.remaining(), missing);
      views.add(buffer.slice(buffer.position(), part));
      buffer.position(buffer.position() + part);
      missing -= part;
    }
    views.addAll(after);
    return views.toArray(ByteBuffer[]::new);
  }
}
