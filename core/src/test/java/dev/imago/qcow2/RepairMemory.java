package dev.imago.qcow2;

import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.Storage;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.TreeMap;

/**
 * A program for {@link RepairMemoryTest}: repairs an image of 16 TiB in which every cluster is
 * used, and none counted. Says what is left to repair, how many clusters the disk has, and how much
 * memory the process has ever had.
 */
final class RepairMemory {
  private static final int CLUSTER = 1 << 16;
  private static final long TABLES = 1 << 15;
  private static final long FIRST_TABLE = 64;
  private static final long FIRST_DATA = FIRST_TABLE + TABLES;

  /** Clusters of guest data. */
  static final long DATA = TABLES * (CLUSTER / 8);

  private RepairMemory() {}

  /** Takes no arguments. */
  public static void main(String[] arguments) throws Exception {
    RepairResult result = Qcow2.repair(new Full(), RepairMode.ALL, Progress.NONE);
    System.out.printf(
        "%s %d%n%s%n",
        result.left().findings(),
        result.left().allocatedClusters(),
        Files.readAllLines(Path.of("/proc/self/status")).stream()
            .filter(line -> line.startsWith("VmHWM:"))
            .findFirst()
            .orElseThrow());
  }

  /**
   * Header, refcount table and L1 table are kept, L2 tables and data made up; of what is written,
   * pages that are equal are kept once.
   */
  private static final class Full implements Storage {
    private final TreeMap<Long, byte[]> pages = new TreeMap<>();
    private byte[] last = new byte[CLUSTER];
    private long size = (FIRST_DATA + DATA) * CLUSTER;

    Full() throws Exception {
      SparseStorage small = new SparseStorage();
      Qcow2.create(small, Qcow2CreateOptions.ofSize(1L << 44), null);
      HeaderCluster header = HeaderReader.readForCheck(small);
      long l1 = header.header().l1TableOffset();
      ByteBuffer table = ByteBuffer.allocate((int) TABLES * 8);
      for (long i = 0; i < TABLES; i++) {
        table.putLong((FIRST_TABLE + i) * CLUSTER | Geometry.COPIED);
      }
      ByteBuffer start = ByteBuffer.allocate((int) FIRST_TABLE * CLUSTER);
      small.read(start, 0);
      start.put((int) l1, table.array());
      write(start.flip(), 0);
    }

    @Override
    public String name() {
      return "full";
    }

    @Override
    public boolean readOnly() {
      return false;
    }

    @Override
    public int requestAlignment() {
      return 1;
    }

    @Override
    public void read(ByteBuffer dst, long hostOffset) {
      for (long at = hostOffset; dst.hasRemaining(); ) {
        int in = (int) (at % CLUSTER);
        int step = Math.min(CLUSTER - in, dst.remaining());
        page(dst, at / CLUSTER, in, step);
        at += step;
      }
    }

    private void page(ByteBuffer dst, long number, int in, int length) {
      byte[] page = pages.get(number);
      if (page != null) {
        dst.put(page, in, length);
        return;
      }
      boolean table = number >= FIRST_TABLE && number < FIRST_DATA;
      long first = FIRST_DATA + (number - FIRST_TABLE) * (CLUSTER / 8);
      for (int i = in / 8; i < (in + length) / 8; i++) {
        dst.putLong(table ? (first + i) * CLUSTER | Geometry.COPIED : 0);
      }
    }

    @Override
    public void write(ByteBuffer src, long hostOffset) {
      for (long at = hostOffset; src.hasRemaining(); ) {
        int in = (int) (at % CLUSTER);
        int step = Math.min(CLUSTER - in, src.remaining());
        byte[] page = pages.containsKey(at / CLUSTER) ? pages.get(at / CLUSTER).clone() : null;
        page = page == null ? new byte[CLUSTER] : page;
        src.get(page, in, step);
        last = Arrays.equals(last, page) ? last : page;
        pages.put(at / CLUSTER, last);
        at += step;
        size = Math.max(size, at);
      }
    }

    @Override
    public void writeZeroes(long hostOffset, long length, ZeroMode mode) {
      throw new AssertionError("a repair zeroes nothing");
    }

    @Override
    public boolean discard(long hostOffset, long length) {
      return false;
    }

    @Override
    public Run run(long hostOffset, long maxLength) {
      return new Run(true, maxLength);
    }

    @Override
    public long size() {
      return size;
    }

    @Override
    public long allocatedBytes() {
      return size;
    }

    @Override
    public void resize(long newSize, Preallocation preallocation) {
      size = newSize;
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }
}
