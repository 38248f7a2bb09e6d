package dev.imago.storage;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * An open file of the host as {@link FileStorage} needs it. Arguments have been checked: offsets
 * are not negative, ranges do not overflow, nothing is written to what is open read-only. What an
 * implementation cannot do it answers with false, and {@link FileStorage} finds another way.
 *
 * <p>Safe for all threads; never closed by an interrupt.
 */
interface HostFile {

  /** Below what size and alignment requests are bounced. */
  default int requestAlignment() {
    return 1;
  }

  /** Reads until {@code dst} is full or the file ends; the position tells which. */
  void read(ByteBuffer dst, long at) throws IOException;

  /** The same for several buffers, one after the other. */
  default void read(ByteBuffer[] dsts, long at) throws IOException {
    long next = at;
    for (ByteBuffer dst : dsts) {
      int length = dst.remaining();
      read(dst, next);
      next += length;
    }
  }

  /** As {@link Storage#prefetch}. */
  default boolean prefetch(long at, long length) {
    return false;
  }

  /** Fills {@code dst}, with zeroes past the end, unless a device had to be waited for. */
  default boolean readNow(ByteBuffer dst, long at) throws IOException {
    return false;
  }

  /** Writes all of {@code src}; the file grows if need be. */
  void write(ByteBuffer src, long at) throws IOException;

  /** The same for several buffers, one after the other. */
  default void write(ByteBuffer[] srcs, long at) throws IOException {
    long next = at;
    for (ByteBuffer src : srcs) {
      int length = src.remaining();
      write(src, next);
      next += length;
    }
  }

  /** As {@link Storage#copyFrom}; whatever goes wrong only ends it. */
  default long copyFrom(HostFile source, long sourceOffset, long at, long length) {
    return 0;
  }

  /** Makes a hole that reads as zero, partial blocks at its edges included. The size stays. */
  default boolean punch(long at, long length) throws IOException {
    return false;
  }

  /** Makes a range read as zero and own its space; the file grows if need be. */
  default boolean zero(long at, long length) throws IOException {
    return false;
  }

  /** Gives a range its space and changes no byte; the file grows if need be. */
  default boolean allocate(long at, long length) throws IOException {
    return false;
  }

  /** Sets the size. */
  void truncate(long size) throws IOException;

  /** Takes all bytes of a regular file away. */
  default void empty() throws IOException {
    if (size() > 0) {
      truncate(0);
    }
  }

  /** What is kept at an offset below the size. */
  Storage.Run run(long at, long maxLength) throws IOException;

  /** The size now. */
  long size() throws IOException;

  /** Space in use, or -1. */
  default long allocatedBytes() throws IOException {
    return -1;
  }

  /** Which file it is, by device and inode; null if the system does not say. */
  default @Nullable Object identity() throws IOException {
    return null;
  }

  /** Where the open file is now, links resolved; null if the system does not say. */
  default @Nullable Path realPath() throws IOException {
    return null;
  }

  /** fdatasync. */
  void sync() throws IOException;

  /** Waits for the calls under way, then closes. */
  void close() throws IOException;
}
