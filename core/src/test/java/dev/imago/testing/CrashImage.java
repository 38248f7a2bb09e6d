package dev.imago.testing;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;

/** What one storage holds after a crash: immutable, cheap to keep. */
public final class CrashImage {
  private final Map<Long, byte[]> sectors;
  private final long size;

  CrashImage(Map<Long, byte[]> sectors, long size) {
    this.sectors = sectors;
    this.size = size;
  }

  /** What a file holds. */
  public static CrashImage of(Path file) throws IOException {
    byte[] bytes = Files.readAllBytes(file);
    Map<Long, byte[]> sectors = new HashMap<>();
    byte[] zeroes = new byte[CrashStorage.SECTOR];
    for (int at = 0; at < bytes.length; at += CrashStorage.SECTOR) {
      int end = Math.min(at + CrashStorage.SECTOR, bytes.length);
      byte[] sector = new byte[CrashStorage.SECTOR];
      System.arraycopy(bytes, at, sector, 0, end - at);
      if (!Arrays.equals(sector, zeroes)) {
        sectors.put((long) at / CrashStorage.SECTOR, sector);
      }
    }
    return new CrashImage(sectors, bytes.length);
  }

  /** In bytes. */
  public long size() {
    return size;
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
