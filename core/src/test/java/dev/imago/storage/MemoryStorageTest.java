package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.Run;
import dev.imago.storage.Storage.ZeroMode;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class MemoryStorageTest {
  private static final long TIB = 1L << 40;

  private final MemoryStorage storage = new MemoryStorage("memory");

  private static ByteBuffer ones(int length) {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) 1);
    return ByteBuffer.wrap(bytes);
  }

  @Test
  void onlyPagesThatWereWrittenToAreKept() {
    storage.write(ones(1), 100 * TIB);
    assertThat(storage.size()).isEqualTo(100 * TIB + 1);
    assertThat(storage.allocatedBytes()).isEqualTo(4096);
    assertThat(storage.run(100 * TIB, 10)).isEqualTo(new Run(true, 1));
    assertThat(storage.run(0, 4096).data()).isFalse();

    assertThat(storage.discard(0, 200 * TIB)).isTrue();
    assertThat(storage.allocatedBytes()).isEqualTo(4096); // a page in part
    storage.writeZeroes(100 * TIB, 4096, ZeroMode.SPARSE);
    assertThat(storage.allocatedBytes()).isZero();
    storage.writeZeroes(0, 8192, ZeroMode.ALLOCATED);
    assertThat(storage.allocatedBytes()).isEqualTo(8192);
    assertThat(storage.run(0, TIB)).isEqualTo(new Run(true, 8192));
  }

  @Test
  void whatWasCutOffIsZeroWhenItGrowsAgain() {
    storage.write(ones(10_000), 0);
    storage.resize(100, Preallocation.OFF);
    storage.resize(10_000, Preallocation.OFF);
    ByteBuffer all = ByteBuffer.allocate(10_000);
    storage.read(all, 0);

    assertThat(all.array()).isEqualTo(Arrays.copyOf(ones(100).array(), 10_000));
  }

  @Test
  void theContentsOutliveClose() {
    storage.write(ones(3), 0);
    storage.close();
    ByteBuffer all = ByteBuffer.allocate(3);
    storage.read(all, 0);

    assertThat(all.array()).containsExactly(1, 1, 1);
  }

  @Test
  void writersOfOnePageDoNotLoseEachOthersBytes() throws Exception {
    List<StorageKind.Body> bodies = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      int me = i;
      bodies.add(
          () -> {
            for (int round = 1; round <= 2000; round++) {
              storage.write(ByteBuffer.wrap(new byte[] {(byte) round}), me);
              ByteBuffer again = ByteBuffer.allocate(1);
              storage.read(again, me);
              assertThat(again.get(0)).isEqualTo((byte) round);
            }
          });
    }
    Threads.runAll(Thread.ofPlatform(), bodies);

    assertThat(storage.size()).isEqualTo(4);
  }
}
