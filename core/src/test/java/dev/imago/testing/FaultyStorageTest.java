package dev.imago.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.Storage.ZeroMode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

class FaultyStorageTest {
  private final CrashStorage inner = new CrashGroup().storage("disk");
  private final FaultyStorage disk = new FaultyStorage(inner);

  @Test
  void failsTheCallItIsToldToAndOnlyThat() throws Exception {
    disk.failNth(StorageCall.WRITE, 2);

    disk.write(block(1), 0);
    assertThatThrownBy(() -> disk.write(block(2), 0)).hasMessage("disk: Input/output error");
    disk.write(block(3), 4096);

    assertThat(byteAt(0)).isEqualTo(1);
    assertThat(byteAt(4096)).isEqualTo(3);
    assertThat(disk.calls(StorageCall.WRITE)).isEqualTo(3);
  }

  @Test
  void cutsAWriteInTheMiddle() throws Exception {
    disk.cutShortWhen(request -> request.touches(4095, 1));

    assertThatThrownBy(() -> disk.write(block(1), 0)).hasMessageContaining("Input/output error");

    assertThat(byteAt(2047)).isEqualTo(1);
    assertThat(byteAt(2048)).isZero();
  }

  @Test
  void isFullOnceNewBlocksAreUsedUp() throws Exception {
    disk.write(block(1), 0);
    disk.fullAfter(8192);

    disk.write(block(2), 0);
    disk.write(block(2), 4096);
    disk.writeZeroes(8192, 4096, ZeroMode.ALLOCATED);
    assertThatThrownBy(() -> disk.write(block(2), 12288))
        .hasMessage("disk: No space left on device");
    disk.discard(4096, 4096);
    disk.write(block(2), 16384);
  }

  @Test
  void liesAboutWhatItIsToldToSkip() throws Exception {
    disk.skipWhen(request -> request.call() == StorageCall.WRITE);
    disk.write(block(1), 0);
    disk.heal();

    assertThat(byteAt(0)).isZero();
  }

  @Test
  void holdsACallUntilItIsResumed() throws Exception {
    FaultyStorage.Pause pause = disk.pauseBefore(r -> r.call() == StorageCall.WRITE);
    CompletableFuture<Void> writer =
        CompletableFuture.runAsync(
            () -> {
              try {
                disk.write(block(1), 0);
              } catch (IOException e) {
                throw new UncheckedIOException(e);
              }
            });
    pause.awaitReached();
    assertThat(byteAt(0)).isZero();
    pause.resume();
    writer.join();

    assertThat(byteAt(0)).isEqualTo(1);
  }

  private int byteAt(long hostOffset) throws Exception {
    ByteBuffer one = ByteBuffer.allocate(1);
    inner.read(one, hostOffset);
    return one.get(0);
  }

  private static ByteBuffer block(int value) {
    byte[] bytes = new byte[4096];
    Arrays.fill(bytes, (byte) value);
    return ByteBuffer.wrap(bytes);
  }
}
