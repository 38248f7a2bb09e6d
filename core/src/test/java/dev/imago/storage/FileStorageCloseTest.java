package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.FileStorage.Options;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

/** The end of a file storage. */
class FileStorageCloseTest {
  @TempDir(factory = InTarget.class)
  private Path folder;

  @ParameterizedTest
  @EnumSource(names = "MEMORY|TAGGED", mode = Mode.MATCH_NONE)
  void aClosedStorageSaysSoAndClosingAgainDoesNothing(StorageKind kind) throws Exception {
    Path file = folder.resolve("disk");
    Storage storage = kind.create(file);
    storage.write(ByteBuffer.allocate(10), 0);
    storage.close();
    Storage next = kind.create(file); // gets the same descriptor number
    storage.close();
    kind.onItsThread(
        () -> {
          assertClosed(() -> storage.read(ByteBuffer.allocate(1), 0));
          assertClosed(() -> storage.read(ByteBuffer.allocateDirect(4096), 0));
          assertClosed(() -> storage.write(ByteBuffer.allocate(1), 0));
          assertClosed(storage::size);
          assertClosed(storage::flush);
          assertClosed(() -> storage.resize(5, Storage.Preallocation.OFF));
        });

    assertThat(next.size()).isZero();
    assertThatThrownBy(() -> FileStorage.open(file, Options.readWrite()))
        .isInstanceOf(StorageLockedException.class);
    next.close();
  }

  private static void assertClosed(org.assertj.core.api.ThrowableAssert.ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOf(StorageIoException.class)
        .hasMessageContaining("the storage is closed");
  }

  /** A closed descriptor's number soon belongs to another file. */
  @ParameterizedTest
  @EnumSource(names = "MEMORY|TAGGED", mode = Mode.MATCH_NONE)
  void requestsThatAreCutOffByCloseNeverReachAnotherFile(StorageKind kind) throws Exception {
    int rounds = 40;
    for (int round = 0; round < rounds; round++) {
      Storage first = kind.create(folder.resolve("first"));
      CountDownLatch running = new CountDownLatch(2);
      List<StorageKind.Body> bodies = new ArrayList<>();
      for (int i = 0; i < 2; i++) {
        bodies.add(
            () -> {
              byte[] ones = new byte[8192];
              Arrays.fill(ones, (byte) 1);
              running.countDown();
              assertThatThrownBy(
                      () -> {
                        while (true) {
                          first.write(ByteBuffer.wrap(ones), 0);
                        }
                      })
                  .hasMessageContaining("the storage is closed");
            });
      }
      bodies.add(
          () -> {
            running.await();
            first.close();
            try (Storage second = kind.create(folder.resolve("second"))) {
              second.resize(8192, Storage.Preallocation.OFF);
              ByteBuffer all = ByteBuffer.allocate(8192);
              second.read(all, 0);
              assertThat(all.array()).isEqualTo(new byte[8192]);
            }
          });
      Threads.runAll(Thread.ofPlatform(), bodies);
    }
  }

  @Test
  void openingAndClosingLeavesNoDescriptorBehind() throws Exception {
    Path file = folder.resolve("disk");
    FileStorage.create(file, Options.readWrite()).close();
    for (StorageKind kind : StorageKind.values()) {
      if (kind.isFile()) {
        try (FileStorage holder = FileStorage.open(file, kind.options())) {
          assertThatThrownBy(() -> FileStorage.open(file, kind.options()))
              .isInstanceOf(StorageLockedException.class);
          assertThat(holder.size()).isZero();
        }
      }
    }

    try (var descriptors = java.nio.file.Files.list(Path.of("/proc/self/fd"))) {
      assertThat(descriptors.map(FileStorageCloseTest::target)).doesNotContain(file.toString());
    }
  }

  private static String target(Path fd) {
    try {
      return java.nio.file.Files.readSymbolicLink(fd).toString();
    } catch (java.io.IOException e) {
      return ""; // closed meanwhile
    }
  }
}
