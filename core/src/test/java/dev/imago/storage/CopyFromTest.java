package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.FileStorage.Options;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Copies that the kernel makes. */
class CopyFromTest {
  private static final int SIZE = 300_000;

  @TempDir(factory = InTarget.class)
  private Path folder;

  private final byte[] bytes = new byte[SIZE];
  private Path from;
  private Path to;

  @BeforeEach
  void makeSource() throws Exception {
    new SplittableRandom(5).nextBytes(bytes);
    from = Files.write(folder.resolve("from"), bytes);
    to = Files.write(folder.resolve("to"), new byte[] {7, 7, 7});
  }

  private FileStorage source() throws IOException {
    return FileStorage.open(from, Options.readOnly());
  }

  private FileStorage target() throws IOException {
    return FileStorage.open(to, Options.readWrite());
  }

  @Test
  void theBytesAreThereAndTheTargetGrows() throws Exception {
    try (FileStorage source = source();
        FileStorage target = target()) {
      assertThat(target.copyFrom(source, 1000, 4097, 200_000)).isEqualTo(200_000);

      assertThat(target.size()).isEqualTo(204_097);
    }
    byte[] copy = Files.readAllBytes(to);
    assertThat(Arrays.copyOf(copy, 4)).containsExactly(7, 7, 7, 0);
    assertThat(Arrays.copyOfRange(copy, 4097, 204_097))
        .isEqualTo(Arrays.copyOfRange(bytes, 1000, 201_000));
  }

  @Test
  void itEndsWhereTheSourceEnds() throws Exception {
    try (FileStorage source = source();
        FileStorage target = target()) {
      assertThat(target.copyFrom(source, SIZE - 100, 0, 4096)).isEqualTo(100);
      assertThat(target.copyFrom(source, SIZE, 0, 4096)).isZero();
      assertThat(target.copyFrom(source, SIZE + 1, 0, 4096)).isZero();
      assertThat(target.copyFrom(source, 0, 0, 0)).isZero();

      assertThat(target.size()).isEqualTo(100);
    }
    assertThat(Files.readAllBytes(to)).isEqualTo(Arrays.copyOfRange(bytes, SIZE - 100, SIZE));
  }

  @Test
  void withinOneFileRangesThatOverlapAreLeftToTheCaller() throws Exception {
    try (FileStorage file = FileStorage.open(from, Options.readWrite())) {
      assertThat(file.copyFrom(file, 0, 200_000, 100_000)).isEqualTo(100_000);
      assertThat(file.copyFrom(file, 0, 50, 100)).isZero();
    }
    byte[] expected = bytes.clone();
    System.arraycopy(bytes, 0, expected, 200_000, 100_000);
    assertThat(Files.readAllBytes(from)).isEqualTo(expected);
  }

  @Test
  void aTargetThatIsReadOnlyRefusesAsForAWrite() throws Exception {
    try (FileStorage source = source();
        FileStorage target = FileStorage.open(to, Options.readOnly())) {
      assertThatThrownBy(() -> target.copyFrom(source, 0, 0, 10))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(to + " is open read-only");
      assertThat(target.size()).isEqualTo(3);
    }
  }

  @Test
  void rangesThatDoNotExistAreRefused() throws Exception {
    try (FileStorage source = source();
        FileStorage target = target()) {
      assertThatThrownBy(() -> target.copyFrom(source, -1, 0, 10))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> target.copyFrom(source, 0, Long.MAX_VALUE, 10))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> target.copyFrom(source, 0, 0, -10))
          .isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void ofClosedStoragesNothingIsCopied() throws Exception {
    FileStorage closed = source();
    closed.close();
    try (FileStorage target = target()) {
      assertThat(target.copyFrom(closed, 0, 0, 10)).isZero();
      assertThat(target.size()).isEqualTo(3);
    }
    FileStorage closedTarget = target();
    closedTarget.close();
    try (FileStorage source = source()) {
      assertThat(closedTarget.copyFrom(source, 0, 0, 10)).isZero();
    }
  }

  @ParameterizedTest
  @EnumSource
  void onlyFilesOfTheHostsCacheAreCopied(StorageKind kind) throws Exception {
    Path other = folder.resolve("other");
    boolean copies = kind == StorageKind.CALLS || kind == StorageKind.CALLS_BY_VIRTUAL_THREAD;
    kind.onItsThread(
        () -> {
          try (FileStorage source = source();
              Storage target = kind.create(other)) {
            assertThat(target.copyFrom(source, 0, 0, 4096)).isEqualTo(copies ? 4096 : 0);
            target.write(ByteBuffer.wrap(bytes, 0, 4096), 0);
            try (FileStorage second = target()) {
              assertThat(second.copyFrom(target, 0, 0, 4096)).isEqualTo(copies ? 4096 : 0);
            }
          }
        });
  }

  @Test
  void tagsAreLookedThroughAndWhatMayChangeBytesIsNot() throws Exception {
    try (var source = new TaggedStorage<>(new TaggedStorage<>(source(), 1), 2);
        var target = new TaggedStorage<>(target(), 3);
        var over =
            new StorageOver(FileStorage.create(folder.resolve("x"), Options.readWrite())) {};
        var below = new StorageOver(source()) {}) {
      assertThat(target.copyFrom(source, 0, 0, 4096)).isEqualTo(4096);
      assertThat(over.copyFrom(source, 0, 0, 4096)).isZero();
      assertThat(target.copyFrom(below, 0, 0, 4096)).isZero();
    }
    assertThat(Files.readAllBytes(to)).isEqualTo(Arrays.copyOf(bytes, 4096));
  }
}
