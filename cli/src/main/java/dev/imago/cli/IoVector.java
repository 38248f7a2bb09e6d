package dev.imago.cli;

import dev.imago.image.Image;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Requests of several buffers. */
final class IoVector {
  private IoVector() {}

  /** The lengths that stand behind an offset. */
  static List<Long> lengths(IoArguments arguments, List<String> texts) throws IoFailure {
    List<Long> lengths = new ArrayList<>();
    long sum = 0;
    for (String text : texts) {
      long length = arguments.number(text);
      if (length > IoNumber.MAX_REQUEST) {
        throw IoFailure.said(
            "Argument '" + text + "' exceeds maximum size " + IoNumber.MAX_REQUEST);
      }
      sum += length;
      if (sum > IoNumber.MAX_REQUEST) {
        throw IoFailure.said(
            "The total number of bytes exceed the maximum size " + IoNumber.MAX_REQUEST);
      }
      lengths.add(length);
    }
    return lengths;
  }

  static long sum(List<Long> lengths) {
    long sum = 0;
    for (long length : lengths) {
      sum += length;
    }
    return sum;
  }

  /** Whether a range does not lie within the disk. */
  static boolean outside(Image image, long guestOffset, long length) {
    long size = image.size();
    return guestOffset > size || length > size - guestOffset;
  }

  /**
   * The parts of a buffer that are buffers of their own.
   *
   * @param done how many bytes of the request lie before it
   * @param lengths of all buffers of the request
   */
  static ByteBuffer[] split(ByteBuffer buffer, long done, List<Long> lengths) {
    List<ByteBuffer> parts = new ArrayList<>();
    long start = -done;
    for (long length : lengths) {
      int from = Math.clamp(start, 0, buffer.limit());
      int end = Math.clamp(start + length, 0, buffer.limit());
      if (end > from) {
        parts.add(buffer.slice(from, end - from));
      }
      start += length;
    }
    return parts.toArray(new ByteBuffer[0]);
  }
}
