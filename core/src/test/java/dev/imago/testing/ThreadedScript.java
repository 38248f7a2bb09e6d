package dev.imago.testing;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Queue;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.random.RandomGenerator;

/**
 * Many guests on one image. Of every four clusters three are shared: each sector belongs to one
 * thread, neighbours to different ones, so that first writes collide. The fourth belongs to one
 * thread whole, which also zeroes and discards it, in the same metadata slices. One more thread
 * does nothing but flush; the caller's interrupts.
 */
public final class ThreadedScript {
  private static final int SECTOR = ByteOracle.SECTOR;
  private static final int OWN = 4;

  private final Image image;
  private final ByteOracle oracle;
  private final long seed;
  private final int threads;
  private final int sectorsPerCluster;
  private final long clusters;
  private final boolean readsAreAtomic;
  private final boolean compressing;
  private final Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
  private final AtomicBoolean stopped = new AtomicBoolean();

  /**
   * A script on an image whose size is a multiple of its cluster size.
   *
   * @param readsAreAtomic whether the storage never shows half a sector of a write in flight
   */
  public ThreadedScript(
      Image image, ByteOracle oracle, long seed, int threads, boolean readsAreAtomic) {
    this(image, oracle, seed, threads, readsAreAtomic, false);
  }

  /** As above; with {@code compressing}, threads compress clusters that are theirs. */
  public ThreadedScript(
      Image image,
      ByteOracle oracle,
      long seed,
      int threads,
      boolean readsAreAtomic,
      boolean compressing) {
    this.image = image;
    this.oracle = oracle;
    this.seed = seed;
    this.threads = threads;
    this.sectorsPerCluster = image.clusterSize() / SECTOR;
    this.clusters = image.size() / image.clusterSize();
    this.readsAreAtomic = readsAreAtomic;
    this.compressing = compressing;
  }

  /**
   * Runs until each thread has done {@code steps} things, and fails if any saw what it must not.
   *
   * @param interrupts whether threads are interrupted in the middle of what they do
   */
  public void run(int steps, boolean interrupts) throws InterruptedException {
    run(steps, interrupts, false);
  }

  /** As above; with {@code resizes}, one more thread makes the disk longer and shorter again. */
  public void run(int steps, boolean interrupts, boolean resizes) throws InterruptedException {
    CountDownLatch running = new CountDownLatch(threads);
    List<Thread> workers = new ArrayList<>();
    for (int i = 0; i < threads; i++) {
      int id = i;
      workers.add(
          Thread.ofPlatform()
              .start(
                  () -> {
                    guarded(() -> work(id, steps));
                    running.countDown();
                  }));
    }
    Thread flusher = Thread.ofPlatform().start(() -> guarded(() -> flushUntilDone(running)));
    Thread resizer =
        Thread.ofPlatform().start(() -> guarded(() -> resizeUntilDone(running, resizes)));
    RandomGenerator random = new SplittableRandom(seed);
    while (interrupts && running.getCount() > 0) {
      workers.get(random.nextInt(threads)).interrupt();
      Thread.onSpinWait();
      Thread.yield();
    }
    for (Thread worker : workers) {
      worker.join();
    }
    flusher.join();
    resizer.join();
    Throwable first = failures.peek();
    if (first != null) {
      throw new AssertionError("seed %d: %s".formatted(seed, first), first);
    }
  }

  private interface Work {
    void run() throws IOException;
  }

  private void guarded(Work work) {
    try {
      work.run();
    } catch (Throwable e) {
      stopped.set(true);
      failures.add(e);
    }
  }

  private void flushUntilDone(CountDownLatch running) throws IOException {
    while (running.getCount() > 0 && !stopped.get()) {
      long begun = oracle.flushing();
      image.flush();
      oracle.flushed(begun);
    }
  }

  private void resizeUntilDone(CountDownLatch running, boolean resizes) throws IOException {
    long size = image.size();
    RandomGenerator random = new SplittableRandom(seed);
    while (resizes && running.getCount() > 0 && !stopped.get()) {
      resize(size + (1 + random.nextInt(64)) * (long) image.clusterSize());
      resize(size);
    }
  }

  private void resize(long size) throws IOException {
    ByteOracle.Change change = oracle.resizing(size);
    image.resize(size, Preallocation.OFF, true);
    change.done();
  }

  private void work(int id, int steps) throws IOException {
    RandomGenerator random = new SplittableRandom(seed * 1000 + id);
    for (int step = 1; step <= steps && !stopped.get(); step++) {
      long cluster = random.nextLong(clusters);
      long version = (long) step * threads + id;
      if (cluster % OWN == OWN - 1) {
        long own = cluster - Math.floorMod(cluster / OWN - id, threads) * OWN;
        if (own >= 0) {
          whole(own, random, version);
        }
      } else {
        part(id, cluster, random, version);
      }
      Thread.interrupted();
    }
  }

  /** One cluster that is all this thread's. */
  private void whole(long cluster, RandomGenerator random, long version) throws IOException {
    int length = image.clusterSize();
    long at = cluster * length;
    switch (random.nextInt(compressing ? 10 : 6)) {
      case 6, 7, 8, 9 -> {
        byte[] bytes = Stamp.bytes(seed, at, length, version);
        ByteOracle.Change change = oracle.writing(at, bytes);
        image.writeCompressed(ByteBuffer.wrap(bytes), at);
        change.done();
      }
      case 0 -> {
        ByteOracle.Change change = oracle.zeroing(at, length);
        image.writeZeroes(at, length, random.nextBoolean(), false);
        change.done();
      }
      case 1 -> {
        ByteOracle.Change change = oracle.zeroing(at, length);
        change.done(image.discard(at, length, Discard.TO_ZERO));
      }
      case 2 -> {
        oracle.loosening(at, length);
        Range done = image.discard(at, length, Discard.TO_ANY);
        if (done.length() > 0) {
          oracle.observed(at, read(at, length));
        }
      }
      case 3 -> oracle.check(at, read(at, length));
      default -> write(at, 1 + random.nextInt(length), version);
    }
  }

  /** This thread's sectors of a shared cluster; sometimes a look at the others'. */
  private void part(int id, long cluster, RandomGenerator random, long version) throws IOException {
    long first = cluster * sectorsPerCluster;
    long sector = first + random.nextInt(sectorsPerCluster);
    long own = sector - Math.floorMod(sector - id, threads);
    if (own < first) {
      own += threads;
    }
    boolean mine = own < first + sectorsPerCluster;
    int what = random.nextInt(8);
    if (!mine || what == 0) {
      lookAtOthers(first, sectorsPerCluster);
    } else if (what == 1) {
      oracle.check(own * SECTOR, read(own * SECTOR, SECTOR));
    } else if (what == 2) {
      ByteOracle.Change change = oracle.zeroing(own * SECTOR, SECTOR);
      image.writeZeroes(own * SECTOR, SECTOR, true, false);
      change.done();
    } else {
      write(own * SECTOR, SECTOR, version);
    }
  }

  private void write(long at, int length, long version) throws IOException {
    byte[] bytes = Stamp.bytes(seed, at, length, version);
    ByteOracle.Change change = oracle.writing(at, bytes);
    image.write(ByteBuffer.wrap(bytes), at);
    change.done();
  }

  private void lookAtOthers(long firstSector, int count) throws IOException {
    byte[] bytes = read(firstSector * SECTOR, count * SECTOR);
    for (int i = 0; i < count; i++) {
      if (!Stamp.belongs(bytes, i * SECTOR, seed, firstSector + i, readsAreAtomic)) {
        byte[] wrong = Arrays.copyOfRange(bytes, i * SECTOR, (i + 1) * SECTOR);
        throw new AssertionError(
            "guest sector 0x%x shows %s".formatted(firstSector + i, Stamp.describe(wrong)));
      }
    }
  }

  private byte[] read(long at, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    image.read(bytes, at);
    return bytes.array();
  }
}
