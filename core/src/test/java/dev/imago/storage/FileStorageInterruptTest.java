package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.FileStorage.Options;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.ZeroMode;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

/** An interrupted thread does its work, keeps its interrupt, and harms nobody. */
class FileStorageInterruptTest {
  private static final int PIECE = 20_000;

  @TempDir(factory = InTarget.class)
  private Path folder;

  @ParameterizedTest
  @EnumSource
  void everyCallOfAnInterruptedThreadSucceedsAndKeepsTheInterrupt(StorageKind kind)
      throws Exception {
    try (Storage storage = kind.create(folder.resolve("disk"))) {
      kind.onItsThread(
          () -> {
            ByteBuffer direct = ByteBuffer.allocateDirect(PIECE);
            ByteBuffer heap = ByteBuffer.allocate(PIECE);
            List<StorageKind.Body> calls =
                List.of(
                    () -> storage.write(heap.clear(), 1),
                    () -> storage.write(direct.clear(), PIECE),
                    () -> storage.read(heap.clear(), 0),
                    () -> storage.read(direct.clear(), 0),
                    () -> storage.read(new ByteBuffer[] {direct.clear(), heap.clear()}, 0),
                    () -> storage.write(new ByteBuffer[] {direct.clear(), heap.clear()}, 0),
                    () -> storage.readNow(direct.clear(), 0),
                    () -> storage.writeZeroes(100, 5000, ZeroMode.ALLOCATED),
                    () -> storage.writeZeroes(100, 5000, ZeroMode.SPARSE),
                    () -> storage.discard(0, 8192),
                    () -> storage.run(0, PIECE),
                    () -> storage.resize(3 * PIECE, Preallocation.FULL),
                    storage::flush,
                    storage::size,
                    storage::allocatedBytes);
            for (StorageKind.Body call : calls) {
              Thread.currentThread().interrupt();
              call.run();
              assertThat(Thread.interrupted()).isTrue();
            }
            assertThat(storage.size()).isEqualTo(3 * PIECE);
          });
    }
  }

  @ParameterizedTest
  @EnumSource
  void interruptsInTheMiddleHarmNobody(StorageKind kind) throws Exception {
    Path file = folder.resolve("disk");
    int workers = 4;
    int interrupts = 60;
    Thread.Builder builder =
        kind == StorageKind.CALLS_BY_VIRTUAL_THREAD ? Thread.ofVirtual() : Thread.ofPlatform();
    AtomicBoolean stop = new AtomicBoolean();
    AtomicLong seen = new AtomicLong();
    CountDownLatch running = new CountDownLatch(workers);
    List<Thread> victims = Collections.synchronizedList(new ArrayList<>());
    try (Storage storage = kind.create(file)) {
      List<StorageKind.Body> bodies = new ArrayList<>();
      for (int worker = 0; worker < workers; worker++) {
        int me = worker;
        boolean victim = worker % 2 == 0;
        bodies.add(
            () -> {
              if (victim) {
                victims.add(Thread.currentThread());
              }
              running.countDown();
              byte[] bytes = new byte[PIECE];
              ByteBuffer buffer = ByteBuffer.allocateDirect(PIECE);
              for (int round = 0; !stop.get() || round < 20; round++) {
                byte value = (byte) (me + round);
                Arrays.fill(bytes, value);
                storage.write(ByteBuffer.wrap(bytes), (long) me * PIECE);
                storage.read(buffer.clear(), (long) me * PIECE);
                assertThat(buffer.get(0)).isEqualTo(value);
                assertThat(buffer.get(PIECE - 1)).isEqualTo(value);
                if (round % 16 == 0) {
                  storage.flush();
                }
                if (Thread.interrupted()) {
                  assertThat(victim).isTrue();
                  seen.incrementAndGet();
                }
                Thread.yield(); // virtual threads do not take turns by themselves
              }
            });
      }
      StorageKind.Body interrupter =
          () -> {
            running.await();
            for (int i = 0; i < interrupts; i++) {
              long before = seen.get();
              Thread victim = victims.get(i % victims.size());
              victim.interrupt();
              while (seen.get() == before && victim.isAlive()) {
                Thread.yield();
              }
            }
            stop.set(true);
          };
      Threads.runAll(
          Thread.ofPlatform(), List.of(interrupter, () -> Threads.runAll(builder, bodies)));

      assertThat(seen.get()).isEqualTo(interrupts);
      assertThat(storage.size()).isEqualTo((long) workers * PIECE);
      if (kind.isFile()) {
        assertThatThrownBy(() -> FileStorage.open(file, Options.readWrite()))
            .isInstanceOf(StorageLockedException.class);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(names = "MEMORY|TAGGED", mode = Mode.MATCH_NONE)
  void aCloseByAnInterruptedThreadGivesTheLocksBack(StorageKind kind) throws Exception {
    Path file = folder.resolve("disk");
    Storage storage = kind.create(file);
    Thread.currentThread().interrupt();
    storage.close();
    assertThat(Thread.interrupted()).isTrue();

    FileStorage.open(file, Options.readWrite()).close();
  }
}
