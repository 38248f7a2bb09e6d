package dev.imago.bench;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.function.IntToDoubleFunction;
import java.util.stream.IntStream;

/**
 * What the library adds to requests of 4 KiB to the page cache, in a JVM that only does this:
 * against positional reads and writes of a bare file channel, taking turns.
 *
 * <p>Prints a Markdown table.
 */
final class InProcess {
  private static final int LENGTH = 4096;

  /** What is read of the disks, at most, in bytes; it must fit into memory twice. */
  private static final long AREA = 1 << 30;

  /** Allocating writes in a round, and how far they are apart: a cluster each. */
  private static final int WRITES = 4096;

  private static final long STRIDE = 64 << 10;

  /** Rounds that are not counted: the compiler is at work. */
  private static final int WARM_UPS = 10;

  private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

  private final int rounds;
  private final int operations;
  private final StringBuilder table = new StringBuilder();

  private InProcess(int rounds, int operations) {
    this.rounds = rounds;
    this.operations = operations;
  }

  /**
   * Started in a JVM of its own.
   *
   * @param args a raw file, a qcow2 image with the same in it, a folder to write in, rounds, reads
   *     in a round
   */
  public static void main(String[] args) throws Exception {
    System.out.print(
        table(
            Path.of(args[0]),
            Path.of(args[1]),
            Path.of(args[2]),
            Integer.parseInt(args[3]),
            Integer.parseInt(args[4])));
  }

  static String table(Path raw, Path qcow2, Path folder, int rounds, int operations)
      throws Exception {
    var bench = new InProcess(rounds, operations);
    bench.table.append(
        """
        | 4 KiB each, in-process | FileChannel | imago | imago ÷ FileChannel | wanted |
        |---|---|---|---|---|
        """);
    bench.reads(raw, qcow2);
    bench.writes(folder);
    return bench.table.toString();
  }

  /** Something that is read. */
  private interface Disk {
    void read(ByteBuffer into, long at) throws IOException;
  }

  /**
   * A round of reads.
   *
   * @param wallNanos from when the first thread begins until the last one is ready
   * @param cpuNanos of all threads
   */
  private record Round(long wallNanos, long cpuNanos) {}

  private void reads(Path raw, Path qcow2) throws Exception {
    try (FileChannel channel = FileChannel.open(raw);
        Image rawImage = Images.openReadOnly(raw, References.deny());
        Image qcow2Image = Images.openReadOnly(qcow2, References.deny())) {
      List<Disk> disks =
          List.of(
              (into, at) -> {
                if (channel.read(into, at) != LENGTH) {
                  throw new IOException("short read");
                }
              },
              rawImage::read,
              qcow2Image::read);
      long size = Math.min(channel.size(), AREA);
      for (Disk disk : disks) {
        ByteBuffer all = ByteBuffer.allocateDirect(LENGTH);
        for (long at = 0; at < size; at += LENGTH) {
          disk.read(all.clear(), at);
        }
      }
      // Of each disk the rounds of one thread and those of two.
      List<List<Round>> single = List.of(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
      List<List<Round>> pair = List.of(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
      for (int round = -WARM_UPS; round < rounds; round++) {
        for (int turn = 0; turn < disks.size(); turn++) {
          int which = Math.floorMod(round + turn, disks.size());
          Round one = read(disks.get(which), size, 1);
          Round two = read(disks.get(which), size, 2);
          if (round >= 0) {
            single.get(which).add(one);
            pair.get(which).add(two);
          }
        }
      }
      for (int which = 1; which < disks.size(); which++) {
        String name = "random read, " + (which == 1 ? "raw" : "qcow2");
        row(
            name + ", 1 thread, CPU in ns",
            cpu(single.getFirst(), operations),
            cpu(single.get(which), operations),
            1.3,
            true);
        row(
            name + ", 2 threads, times as many",
            gain(single.getFirst(), pair.getFirst()),
            gain(single.get(which), pair.get(which)),
            0.95,
            false);
      }
    }
  }

  private Round read(Disk disk, long size, int count) throws Exception {
    var go = new CountDownLatch(1);
    long[] begun = new long[count];
    long[] ended = new long[count];
    long[] cpu = new long[count];
    List<IOException> failures = new ArrayList<>();
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int me = i;
      threads.add(
          Thread.ofPlatform()
              .start(
                  () -> {
                    ByteBuffer buffer = ByteBuffer.allocateDirect(LENGTH);
                    var random = new SplittableRandom();
                    try {
                      go.await();
                      long cpuBefore = THREADS.getCurrentThreadCpuTime();
                      begun[me] = System.nanoTime();
                      for (int n = 0; n < operations; n++) {
                        disk.read(buffer.clear(), random.nextLong(size / LENGTH) * LENGTH);
                      }
                      ended[me] = System.nanoTime();
                      cpu[me] = THREADS.getCurrentThreadCpuTime() - cpuBefore;
                    } catch (IOException | InterruptedException e) {
                      synchronized (failures) {
                        failures.add(new IOException(e));
                      }
                    }
                  }));
    }
    go.countDown();
    for (Thread thread : threads) {
      thread.join();
    }
    if (!failures.isEmpty()) {
      throw failures.getFirst();
    }
    long wall = Arrays.stream(ended).max().orElse(0) - Arrays.stream(begun).min().orElse(0);
    return new Round(wall, Arrays.stream(cpu).sum());
  }

  private void writes(Path folder) throws IOException {
    List<Round> channels = new ArrayList<>();
    List<Round> images = new ArrayList<>();
    Path path = folder.resolve("in-process");
    ByteBuffer buffer = ByteBuffer.allocateDirect(LENGTH).put(0, (byte) 1);
    for (int round = -WARM_UPS; round < rounds; round++) {
      for (int turn = 0; turn < 2; turn++) {
        boolean image = Math.floorMod(round + turn, 2) == 0;
        long cpu = image ? writeImage(path, buffer) : writeChannel(path, buffer);
        Files.delete(path);
        if (round >= 0) {
          (image ? images : channels).add(new Round(0, cpu));
        }
      }
    }
    row(
        "allocating write, qcow2, 1 thread, CPU in ns",
        cpu(channels, WRITES),
        cpu(images, WRITES),
        3,
        true);
  }

  private static long writeChannel(Path path, ByteBuffer buffer) throws IOException {
    try (FileChannel channel =
        FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      long before = THREADS.getCurrentThreadCpuTime();
      for (int i = 0; i < WRITES; i++) {
        if (channel.write(buffer.clear(), i * STRIDE) != LENGTH) {
          throw new IOException("short write");
        }
      }
      return THREADS.getCurrentThreadCpuTime() - before;
    }
  }

  private static long writeImage(Path path, ByteBuffer buffer) throws IOException {
    Images.create(path, CreateOptions.of("qcow2", WRITES * STRIDE));
    try (Image image =
        Images.open(path, OpenOptions.of(References.deny()).writable(true).sync(SyncMode.NONE))) {
      long before = THREADS.getCurrentThreadCpuTime();
      for (int i = 0; i < WRITES; i++) {
        image.write(buffer.clear(), i * STRIDE);
      }
      return THREADS.getCurrentThreadCpuTime() - before;
    }
  }

  private double[] cpu(List<Round> all, int count) {
    return each(round -> all.get(round).cpuNanos / (double) count);
  }

  /** How many times as much two threads do in the same time as one. */
  private double[] gain(List<Round> single, List<Round> pair) {
    return each(round -> 2.0 * single.get(round).wallNanos / pair.get(round).wallNanos);
  }

  private double[] each(IntToDoubleFunction value) {
    return IntStream.range(0, rounds).mapToDouble(value).toArray();
  }

  /** Medians of the rounds, and of what the ratio is within each. */
  private void row(String name, double[] bare, double[] imago, double bound, boolean atMost) {
    double[] ratios = each(round -> imago[round] / bare[round]);
    double ratio = Math.round(100 * Samples.quantile(ratios, 0.5)) / 100.0;
    boolean missed = atMost ? ratio > bound : ratio < bound;
    String wanted = (atMost ? "≤ " : "≥ ") + bound;
    table.append(
        Report.row(
            name,
            Report.digits(Samples.quantile(bare, 0.5)),
            Report.digits(Samples.quantile(imago, 0.5)),
            Report.spread(ratio, Samples.quantile(ratios, 0), Samples.quantile(ratios, 1)),
            missed ? "**" + wanted + " missed**" : wanted));
  }
}
