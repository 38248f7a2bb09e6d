package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.Run;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

class NullStorageTest {
  @Test
  void itReadsAsZeroWhateverIsWritten() {
    NullStorage storage = new NullStorage("null", 1000);
    ByteBuffer src = ByteBuffer.wrap(new byte[] {1, 2, 3});
    storage.write(src, 10);
    ByteBuffer dst = ByteBuffer.wrap(new byte[] {9, 9, 9});
    storage.read(dst, 10);

    assertThat(src.hasRemaining()).isFalse();
    assertThat(dst.array()).containsOnly(0);
    assertThat(storage.run(10, 5000)).isEqualTo(new Run(false, 990));
    assertThat(storage.allocatedBytes()).isZero();
  }

  @Test
  void onlyItsSizeIsKept() {
    NullStorage storage = new NullStorage("null", 1000);
    storage.write(ByteBuffer.allocate(10), 995);
    assertThat(storage.size()).isEqualTo(1005);
    storage.resize(7, Preallocation.FULL);
    assertThat(storage.size()).isEqualTo(7);
  }
}
