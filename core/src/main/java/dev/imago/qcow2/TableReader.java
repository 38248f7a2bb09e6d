package dev.imago.qcow2;

import dev.imago.internal.Buffers;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Reads tables of 8-byte words in little memory, skipping holes and what is past the end, which
 * read as zero. Not for several threads at once.
 */
final class TableReader implements AutoCloseable {
  private static final int CHUNK = 256 << 10;

  private final Storage storage;
  private final long fileSize;
  private Buffers.Lease lease = Buffers.take(CHUNK);

  // The last run that the storage told of; empty at first.
  private long runStart;
  private long runEnd;
  private boolean runIsData;

  TableReader(Storage storage, long fileSize) {
    this.storage = storage;
    this.fileSize = fileSize;
  }

  /** Takes words that are not zero. */
  interface Visitor {
    /**
     * Called in ascending order.
     *
     * @param index of the word in its table
     */
    void word(long index, long word) throws IOException;
  }

  /** Shows all words of a table that are not zero. */
  void words(long hostOffset, long count, Visitor visitor) throws IOException {
    long end = Math.min(fileSize, hostOffset + count * 8);
    for (long at = hostOffset; at < end; ) {
      long data = nextData(at);
      if (data >= end) {
        return;
      }
      // Holes may begin and end anywhere; words do not.
      at = Math.max(at, hostOffset + (data - hostOffset & -8));
      ByteBuffer chunk = read(at, (int) Math.min(CHUNK, end - at + 7 & -8));
      long index = (at - hostOffset) / 8;
      at += chunk.remaining();
      for (; chunk.hasRemaining(); index++) {
        long word = chunk.getLong();
        if (word != 0) {
          visitor.word(index, word);
        }
      }
    }
  }

  /** Whether a range is known to read as zero without looking at it. */
  boolean isHole(long hostOffset, int length) throws IOException {
    return nextData(hostOffset) >= hostOffset + length;
  }

  /**
   * The bytes of a table; good until the next call of this reader.
   *
   * @param length at most 2 MiB
   */
  ByteBuffer read(long hostOffset, int length) throws IOException {
    if (lease.buffer().capacity() < length) {
      lease.close();
      lease = Buffers.take(length);
    }
    ByteBuffer buffer = lease.buffer().clear().limit(length);
    storage.read(buffer, hostOffset);
    return buffer.flip();
  }

  /** The first offset from here on that may not read as zero. */
  private long nextData(long hostOffset) throws IOException {
    long at = hostOffset;
    while (at < fileSize) {
      if (at < runStart || at >= runEnd) {
        Storage.Run run = storage.run(at, fileSize - at);
        runStart = at;
        runEnd = at + run.length();
        runIsData = run.data();
      }
      if (runIsData) {
        return at;
      }
      at = runEnd;
    }
    return Long.MAX_VALUE;
  }

  @Override
  public void close() {
    lease.close();
  }
}
