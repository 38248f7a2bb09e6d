package dev.imago.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;

/**
 * Fills what is free of the memory with the contents of a file, as on a machine that has run for
 * long. A virtual machine may give free memory back to its host, which takes a second or more to
 * bring a gigabyte of it again: then whether a program is fast depends on which pages it happens to
 * get. A file's pages are given to whoever needs some, and are there.
 *
 * <p>Linux. The file is one hole and takes no room on the disk.
 */
final class FullMemory {
  /** Left free, more than the kernel wants to keep free itself. */
  private static final long SPARED = 700 << 20;

  private static final long LENGTH = 4L << 40;

  private final Path file;
  private long next;

  FullMemory(Path file) {
    this.file = file;
  }

  /** Reads on in the file, as far as memory is free for it. */
  void fill() throws IOException {
    long length = free(Files.readAllLines(Path.of("/proc/meminfo"))) - SPARED;
    if (length > 0) {
      read(length);
    }
  }

  /** Has so many bytes more of the file in memory; how many of it have been read in all. */
  long read(long length) throws IOException {
    try (FileChannel channel =
        FileChannel.open(
            file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      if (channel.size() == 0) {
        channel.write(ByteBuffer.allocate(1), LENGTH - 1);
      }
      ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
      for (long end = next + length; next < end; ) {
        next += channel.read(buffer.clear(), next % (LENGTH / 2));
      }
    }
    return next;
  }

  /** In bytes, of what Linux says of its memory: what keeps nothing, not even a file's contents. */
  static long free(List<String> meminfo) throws IOException {
    for (String line : meminfo) {
      if (line.startsWith("MemFree:")) {
        return Long.parseLong(line.replaceAll("\\D", "")) << 10;
      }
    }
    throw new IOException("/proc/meminfo says nothing of MemFree");
  }
}
