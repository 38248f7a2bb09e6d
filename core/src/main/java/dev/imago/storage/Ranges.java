package dev.imago.storage;

import java.nio.ByteBuffer;

/** The checks of arguments that all storages share. */
final class Ranges {
  private Ranges() {}

  /**
   * Refuses a range that does not exist.
   *
   * @throws IllegalArgumentException if a number is negative or the end is beyond 2^63 - 1
   */
  static void check(long hostOffset, long length) {
    if (hostOffset < 0 || length < 0 || hostOffset > Long.MAX_VALUE - length) {
      throw new IllegalArgumentException(
          "no such range: " + length + " bytes at host offset " + hostOffset);
    }
  }

  /** Refuses what {@link Storage#run} cannot answer. */
  static void checkRun(long hostOffset, long maxLength) {
    if (hostOffset < 0 || maxLength < 1) {
      throw new IllegalArgumentException(
          "no such range: " + maxLength + " bytes at host offset " + hostOffset);
    }
  }

  /** Refuses a buffer that cannot be filled. */
  static void checkDestination(ByteBuffer dst, long hostOffset) {
    if (dst.isReadOnly()) {
      throw new IllegalArgumentException("the buffer to read into is read-only");
    }
    check(hostOffset, dst.remaining());
  }

  /** The same for several, as one run. */
  static void checkDestinations(ByteBuffer[] dsts, long hostOffset) {
    for (ByteBuffer dst : dsts) {
      checkDestination(dst, hostOffset);
    }
    check(hostOffset, remaining(dsts));
  }

  /** What remains in all of them, in bytes. */
  static long remaining(ByteBuffer[] buffers) {
    long sum = 0;
    for (ByteBuffer buffer : buffers) {
      sum += buffer.remaining();
    }
    return sum;
  }
}
