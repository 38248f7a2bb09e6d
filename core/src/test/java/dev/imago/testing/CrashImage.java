package dev.imago.testing;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** What one storage holds after a crash: immutable, cheap to keep. */
public final class CrashImage {
  private final Map<Long, byte[]> sectors;
  private final long size;

  CrashImage(Map<Long, byte[]> sectors, long size) {
    this.sectors = sectors;
    this.size = size;
  }

  /** In bytes. */
  public long size() {
    return size;
  }

  byte @Nullable [] sector(long number) {
    return sectors.get(number);
  }

  Map<Long, byte[]> sectors() {
    return sectors;
  }

  /** Writes it as a sparse file; what was there before is gone. */
  public void writeTo(Path file) throws IOException {
    Files.deleteIfExists(file);
    try (RandomAccessFile out = new RandomAccessFile(file.toFile(), "rw")) {
      out.setLength(size);
      byte[] run = new byte[1 << 16];
      int filled = 0;
      long start = 0;
      for (Map.Entry<Long, byte[]> entry : new TreeMap<>(sectors).entrySet()) {
        long at = entry.getKey() * CrashStorage.SECTOR;
        if (at != start + filled || filled == run.length) {
          put(out, run, start, filled);
          start = at;
          filled = 0;
        }
        System.arraycopy(entry.getValue(), 0, run, filled, CrashStorage.SECTOR);
        filled += CrashStorage.SECTOR;
      }
      put(out, run, start, filled);
    }
  }

  private void put(RandomAccessFile out, byte[] bytes, long at, int length) throws IOException {
    int kept = (int) Math.min(length, size - at);
    if (kept > 0) {
      out.seek(at);
      out.write(bytes, 0, kept);
    }
  }
}
