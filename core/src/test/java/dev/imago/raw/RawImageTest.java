package dev.imago.raw;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.image.Mapping;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.SyncMode;
import dev.imago.image.WritableRun;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.AccessDeniedException;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class RawImageTest {
  private final MemoryStorage memory = new MemoryStorage("disk.raw");
  private final FaultyStorage storage = new FaultyStorage(memory);

  @Test
  void theDiskHasWholeSectorsAndReadsAsZeroBehindTheFile() throws Exception {
    memory.write(bytes(1000, 7), 0);
    Image image = open(true);

    assertThat(image.size()).isEqualTo(1024);
    assertThat(read(image, 990, 34)).isEqualTo(ByteBuffer.allocate(34).put(bytes(10, 7)).clear());
    assertThat(memory.size()).isEqualTo(1000);
  }

  @Test
  void aWriteBehindTheFileButOnTheDiskMakesTheFileLonger() throws Exception {
    memory.write(bytes(1000, 7), 0);
    Image image = open(true);

    image.write(bytes(10, 1), 1010);

    assertThat(memory.size()).isEqualTo(1020);
    assertThat(image.size()).isEqualTo(1024);
    assertThat(read(image, 1000, 10)).isEqualTo(bytes(10, 0));
  }

  @Test
  void aWritePastTheDiskIsRefusedAndTouchesNothing() throws Exception {
    memory.resize(1024, Preallocation.OFF);
    Image image = open(true);

    assertThatThrownBy(() -> image.write(bytes(2, 1), 1023))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> image.writeZeroes(1020, 5, true, false))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> image.discard(1024, 1, Discard.TO_ZERO))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> image.read(bytes(1, 0), -1))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThat(memory.size()).isEqualTo(1024);
    assertThat(storage.calls(StorageCall.WRITEV)).isZero();
  }

  @ParameterizedTest
  @EnumSource(Discard.class)
  void aDiscardUpToTheEndNeverShortensNorGrowsTheFile(Discard kind) throws Exception {
    memory.write(bytes(10_000, 7), 0);
    Image image = open(true);

    assertThat(image.discard(5000, image.size() - 5000, kind))
        .isEqualTo(new Range(5000, image.size() - 5000));

    assertThat(memory.size()).isEqualTo(10_000);
    assertThat(read(image, 0, 5000)).isEqualTo(bytes(5000, 7));
    if (kind != Discard.TO_ANY) {
      assertThat(read(image, 5000, 5240)).isEqualTo(bytes(5240, 0));
    }
  }

  @ParameterizedTest
  @EnumSource(Discard.class)
  void aDiscardInsideABlockLeavesItsNeighboursAlone(Discard kind) throws Exception {
    memory.write(bytes(4096, 7), 0);
    Image image = open(true);

    image.discard(100, 50, kind);

    assertThat(read(image, 0, 100)).isEqualTo(bytes(100, 7));
    assertThat(read(image, 150, 3946)).isEqualTo(bytes(3946, 7));
  }

  @Test
  void zeroesAreExactAtBothEnds() throws Exception {
    memory.write(bytes(8192, 7), 0);
    Image image = open(true);

    image.writeZeroes(1, 8190, true, false);

    assertThat(read(image, 0, 1)).isEqualTo(bytes(1, 7));
    assertThat(read(image, 1, 8190)).isEqualTo(bytes(8190, 0));
    assertThat(read(image, 8191, 1)).isEqualTo(bytes(1, 7));
  }

  @Test
  void holesMapToExplicitZeroesThatCanBeOverwrittenWhereTheyAre() throws Exception {
    memory.resize((1 << 20) + 100, Preallocation.OFF);
    memory.write(bytes(65536, 7), 65536 * 4);
    Image image = open(true);

    assertThat(image.extents(0, image.size()).map(e -> e.mapping()))
        .containsExactly(
            new Mapping.Zero(65536 * 4, true, 0),
            new Mapping.Data(storage, 65536 * 4, 65536, true),
            new Mapping.Zero((1 << 20) + 512 - 65536 * 5, true, 65536 * 5));
    assertThat(image.map((1 << 20) + 50, 1000)).isInstanceOf(Mapping.Zero.class);
    assertThat(image.map((1 << 20) + 512, 1)).isEqualTo(new Mapping.End());
  }

  @Test
  void aReadOnlyDiskMapsToDataThatMayNotBeOverwritten() throws Exception {
    memory.write(bytes(512, 7), 0);
    Image image = open(false);

    assertThat(image.map(0, 10)).isEqualTo(new Mapping.Data(storage, 0, 10, false));
    assertThat(image.readOnly()).isTrue();
    assertThatThrownBy(() -> image.write(bytes(1, 0), 0))
        .isInstanceOf(ReadOnlyImageException.class);
    assertThatThrownBy(() -> image.writeZeroes(0, 1, true, false))
        .isInstanceOf(ReadOnlyImageException.class);
    assertThatThrownBy(() -> image.discard(0, 1, Discard.TO_ZERO))
        .isInstanceOf(ReadOnlyImageException.class);
    assertThatThrownBy(() -> image.reserve(0, 1, true)).isInstanceOf(ReadOnlyImageException.class);
    assertThatThrownBy(() -> image.resize(1024, Preallocation.OFF, false))
        .isInstanceOf(ReadOnlyImageException.class);
  }

  @Test
  void aForcedWriteFlushesAndAPlainOneDoesNot() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = open(true);

    image.write(bytes(1, 1), 0);
    assertThat(storage.calls(StorageCall.FLUSH)).isZero();
    image.write(new ByteBuffer[] {bytes(1, 1), bytes(2, 2)}, 5, true);
    assertThat(storage.calls(StorageCall.FLUSH)).isEqualTo(1);
    image.flush();
    assertThat(storage.calls(StorageCall.FLUSH)).isEqualTo(1);
  }

  @Test
  void withoutSyncNothingIsEverFlushed() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = Raw.open(storage, true, SyncMode.NONE);

    image.write(new ByteBuffer[] {bytes(1, 1)}, 5, true);
    image.flush();
    image.close();

    assertThat(storage.calls(StorageCall.FLUSH)).isZero();
  }

  @Test
  void aWriteThatEndsDuringAFlushIsFlushedByTheNext() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = open(true);
    image.write(bytes(1, 1), 0);
    FaultyStorage.Pause pause = storage.pauseBefore(r -> r.call() == StorageCall.FLUSH);
    CompletableFuture<Void> flushing = started(image::flush);
    pause.awaitReached();
    image.write(bytes(1, 1), 512);
    pause.resume();
    flushing.join();

    image.flush();

    assertThat(storage.calls(StorageCall.FLUSH)).isEqualTo(2);
  }

  @Test
  void afterAFailedFlushNothingIsAcceptedAnyMore() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = open(true);
    image.write(bytes(1, 1), 0);
    storage.failNth(StorageCall.FLUSH, 1);

    assertThatThrownBy(image::flush).isInstanceOf(IOException.class);

    assertThatThrownBy(image::flush)
        .isInstanceOf(IOException.class)
        .hasMessageContaining("a flush has failed before");
    assertThatThrownBy(() -> image.write(bytes(1, 1), 0)).isInstanceOf(IOException.class);
    assertThatThrownBy(image::close).isInstanceOf(IOException.class);
    assertThat(storage.calls(StorageCall.CLOSE)).isEqualTo(1);
    image.close();
  }

  @Test
  void closingWaitsForARunningWriteAndThenFlushesIt() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = open(true);
    FaultyStorage.Pause pause = storage.pauseBefore(r -> r.call() == StorageCall.WRITEV);
    CompletableFuture<Void> writing = started(() -> image.write(bytes(512, 5), 0));
    pause.awaitReached();
    CompletableFuture<Void> closing = started(image::close);
    assertThat(closing).isNotDone();

    pause.resume();
    writing.join();
    closing.join();

    assertThat(storage.calls(StorageCall.FLUSH)).isEqualTo(1);
    assertThatThrownBy(() -> image.read(bytes(1, 0), 0))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("disk.raw is closed");
  }

  @Test
  void resizingSetsTheFileExactlyAndShrinksOnlyIfTold() throws Exception {
    memory.write(bytes(2048, 7), 0);
    Image image = open(true);

    assertThatThrownBy(() -> image.resize(1025, Preallocation.OFF, false))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("disk.raw: 1023 bytes would be cut off");
    assertThat(memory.size()).isEqualTo(2048);

    image.resize(1025, Preallocation.OFF, true);
    assertThat(memory.size()).isEqualTo(1025);
    assertThat(image.size()).isEqualTo(1536);
    image.resize(2048, Preallocation.OFF, false);
    assertThat(read(image, 1025, 1023)).isEqualTo(bytes(1023, 0));
  }

  @Test
  void reservedRunsAreWrittenInPlaceAndFlushed() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = open(true);

    try (var run = image.reserve(100, 200, true)) {
      assertThat(run.hostOffset()).isEqualTo(100);
      assertThat(run.length()).isEqualTo(200);
      Storage there = run.storage();
      there.write(bytes(200, 9), run.hostOffset());
      run.commit();
    }
    image.flush();

    assertThat(read(image, 100, 200)).isEqualTo(bytes(200, 9));
    assertThat(storage.calls(StorageCall.FLUSH)).isEqualTo(1);
  }

  @Test
  void anotherSizeIsSeenAfterTheCacheIsInvalidated() throws Exception {
    memory.resize(1024, Preallocation.OFF);
    Image image = open(true);
    memory.resize(8192, Preallocation.OFF);

    assertThat(image.size()).isEqualTo(1024);
    image.invalidateCache();
    assertThat(image.size()).isEqualTo(8192);
  }

  @Test
  void theFirstSectorOfAProbedDiskIsGuardedAgainstEveryKindOfWrite() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = Raw.open(storage, true, SyncMode.FULL, sector -> sector.get(511) != 'x');
    ByteBuffer bad = bytes(1, 'x');

    assertThatThrownBy(() -> image.write(bad.duplicate(), 511))
        .isInstanceOf(AccessDeniedException.class)
        .hasMessageContaining("must not look like another format");
    assertThatThrownBy(
            () ->
                image.write(
                    new ByteBuffer[] {bytes(300, 1), bytes(211, 1), bytes(600, 'x')}, 0, false))
        .isInstanceOf(AccessDeniedException.class);
    image.write(bytes(512, 'y'), 0);
    image.write(bytes(600, 'x'), 512);
    assertThat(read(image, 511, 2)).isEqualTo(ByteBuffer.wrap(new byte[] {'y', 'x'}));
  }

  /** {@code reserve} handed out the storage itself. */
  @Test
  void theFirstSectorOfAProbedDiskIsGuardedAgainstWhoReservesIt() throws Exception {
    memory.resize(4096, Preallocation.OFF);
    Image image = Raw.open(storage, true, SyncMode.FULL, sector -> sector.get(511) != 'x');

    try (WritableRun run = image.reserve(500, 1000, true)) {
      assertThatThrownBy(() -> run.storage().write(bytes(1000, 'x'), run.hostOffset()))
          .isInstanceOf(AccessDeniedException.class);
      assertThatThrownBy(
              () ->
                  run.storage()
                      .write(new ByteBuffer[] {bytes(11, 'y'), bytes(1, 'x')}, run.hostOffset()))
          .isInstanceOf(AccessDeniedException.class);
      run.storage().write(bytes(1000, 'y'), run.hostOffset());
      run.commit();
    }
    assertThat(read(image, 500, 1000)).isEqualTo(bytes(1000, 'y'));
  }

  private Image open(boolean writable) throws IOException {
    return Raw.open(storage, writable, SyncMode.FULL);
  }

  private static ByteBuffer read(Image image, long guestOffset, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    image.read(bytes, guestOffset);
    return bytes.flip();
  }

  private static ByteBuffer bytes(int length, int value) {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    while (bytes.hasRemaining()) {
      bytes.put((byte) value);
    }
    return bytes.flip();
  }

  private interface Action {
    void run() throws IOException;
  }

  private static CompletableFuture<Void> started(Action action) {
    return CompletableFuture.runAsync(
        () -> {
          try {
            action.run();
          } catch (IOException e) {
            throw new IllegalStateException(e);
          }
        },
        Thread::startVirtualThread);
  }
}
