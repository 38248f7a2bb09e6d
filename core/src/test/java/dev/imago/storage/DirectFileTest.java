package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.internal.LinuxFile;
import dev.imago.storage.FileStorage.Options;
import dev.imago.storage.Storage.ZeroMode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What bypasses the page cache must not lose a neighbour's bytes, nor change the size. */
class DirectFileTest {
  private static final Options DIRECT = Options.readWrite().withDirect(true);

  @TempDir(factory = InTarget.class)
  private Path folder;

  @Test
  void writersOfOneBlockDoNotLoseEachOthersBytes() throws Exception {
    int writers = 8;
    int lane = 100; // 41 lanes a block, never aligned
    int size = 64 * 1024;
    Path file = folder.resolve("disk");
    byte[] last = new byte[size];
    try (FileStorage storage = FileStorage.create(file, DIRECT)) {
      storage.resize(size, Storage.Preallocation.OFF);
      List<StorageKind.Body> bodies = new ArrayList<>();
      for (int writer = 0; writer < writers; writer++) {
        int me = writer;
        bodies.add(
            () -> {
              Random random = new Random(me);
              for (int round = 0; round < 300; round++) {
                int at = (random.nextInt(size / lane / writers) * writers + me) * lane;
                byte[] bytes = new byte[lane];
                random.nextBytes(bytes);
                storage.write(ByteBuffer.wrap(bytes), at);
                System.arraycopy(bytes, 0, last, at, lane);
                ByteBuffer again = ByteBuffer.allocate(lane);
                storage.read(again, at);
                assertThat(again.array()).isEqualTo(bytes);
              }
            });
      }
      Threads.runAll(Thread.ofPlatform(), bodies);
    }

    assertThat(Files.readAllBytes(file)).isEqualTo(last);
  }

  @Test
  void wholeBlocksAndPartsOfTheirNeighboursAreWrittenAtTheSameTime() throws Exception {
    int block = 4096;
    Path file = folder.resolve("disk");
    byte[] last = new byte[16 * block];
    try (FileStorage storage = FileStorage.create(file, DIRECT)) {
      storage.resize(last.length, Storage.Preallocation.OFF);
      List<StorageKind.Body> bodies = new ArrayList<>();
      for (int writer = 0; writer < 4; writer++) {
        int me = writer;
        bodies.add(
            () -> {
              // Whole blocks 4k+1; from the middle of 4k+2 to that of 4k+3; zeroes inside 4k.
              Random random = new Random(me);
              int first = me * 4 * block;
              for (int round = 0; round < 200; round++) {
                ByteBuffer whole = ByteBuffer.allocateDirect(block);
                put(storage, random, whole, first + block, last);
                put(storage, random, ByteBuffer.allocate(block), first + 5 * block / 2, last);
                put(storage, random, ByteBuffer.allocate(50), first + 10, last);
                storage.writeZeroes(first + 20, 30, ZeroMode.ALLOCATED);
                Arrays.fill(last, first + 20, first + 50, (byte) 0);
              }
            });
      }
      Threads.runAll(Thread.ofPlatform(), bodies);
    }

    assertThat(Files.readAllBytes(file)).isEqualTo(last);
  }

  @Test
  void aWholeBlockIsNotUndoneByAnOverlappingPartOfIt() throws Exception {
    int block = 4096;
    try (FileStorage storage = FileStorage.create(folder.resolve("disk"), DIRECT)) {
      for (int round = 1; round <= 400; round++) {
        byte wholeByte = (byte) (2 * round);
        byte partByte = (byte) (2 * round + 1);
        CyclicBarrier start = new CyclicBarrier(2);
        ByteBuffer whole = ByteBuffer.allocateDirect(2 * block).alignedSlice(block).limit(block);
        whole.put(0, filled(block, wholeByte));
        Threads.runAll(
            Thread.ofPlatform(),
            List.of(
                () -> {
                  start.await();
                  storage.write(whole, 0);
                },
                () -> {
                  start.await();
                  storage.write(ByteBuffer.wrap(filled(100, partByte)), 0);
                }));
        ByteBuffer got = ByteBuffer.allocate(block);
        storage.read(got, 0);

        byte[] expected = filled(block, wholeByte);
        if (got.get(0) == partByte) {
          Arrays.fill(expected, 0, 100, partByte);
        }
        assertThat(got.array()).as("round %d", round).isEqualTo(expected);
      }
    }
  }

  private static byte[] filled(int length, byte value) {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, value);
    return bytes;
  }

  private static void put(Storage storage, Random random, ByteBuffer src, int at, byte[] last)
      throws Exception {
    byte[] bytes = new byte[src.remaining()];
    random.nextBytes(bytes);
    src.put(0, bytes);
    storage.write(src, at);
    System.arraycopy(bytes, 0, last, at, bytes.length);
  }

  @Test
  void aTailThatIsNoWholeBlockGivesTheExactSize() throws Exception {
    Path file = folder.resolve("disk");
    try (FileStorage storage = FileStorage.create(file, DIRECT)) {
      storage.write(ByteBuffer.allocate(4096 + 17), 4096);
      assertThat(Files.size(file)).isEqualTo(2 * 4096 + 17);

      storage.write(ByteBuffer.allocate(1), 2 * 4096);
      assertThat(Files.size(file)).isEqualTo(2 * 4096 + 17);

      ByteBuffer beyond = ByteBuffer.allocateDirect(3 * 4096);
      storage.read(beyond, 0);
      assertThat(beyond.hasRemaining()).isFalse();
    }
  }

  @Test
  void appendingThreadsDoNotCutOffEachOther() throws Exception {
    Path file = folder.resolve("disk");
    int piece = 5000;
    int pieces = 64;
    try (FileStorage storage = FileStorage.create(file, DIRECT)) {
      List<StorageKind.Body> bodies = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        int me = i;
        bodies.add(
            () -> {
              for (int n = me; n < pieces; n += 4) {
                byte[] bytes = new byte[piece];
                Arrays.fill(bytes, (byte) (n + 1));
                storage.write(ByteBuffer.wrap(bytes), (long) n * piece);
              }
            });
      }
      Threads.runAll(Thread.ofPlatform(), bodies);
    }

    byte[] all = Files.readAllBytes(file);
    byte[] expected = new byte[piece * pieces];
    for (int i = 0; i < expected.length; i++) {
      expected[i] = (byte) (i / piece + 1);
    }
    assertThat(all).isEqualTo(expected);
  }

  @Test
  void askingForTheAlignmentWritesNothing() throws Exception {
    Path file = folder.resolve("disk");
    Files.write(file, new byte[] {1, 2, 3});
    var before = Files.getLastModifiedTime(file);
    try (FileStorage storage = FileStorage.open(file, DIRECT)) {
      assertThat(storage.requestAlignment()).isGreaterThanOrEqualTo(512);
    }

    assertThat(Files.readAllBytes(file)).containsExactly(1, 2, 3);
    assertThat(Files.getLastModifiedTime(file)).isEqualTo(before);
  }

  @Test
  void itReallyBypassesTheCache() throws Exception {
    Path file = folder.resolve("disk");
    try (FileStorage storage = FileStorage.create(file, DIRECT)) {
      String flags =
          Files.list(Path.of("/proc/self/fd"))
              .filter(fd -> pointsTo(fd, file))
              .map(fd -> read(Path.of("/proc/self/fdinfo", fd.getFileName().toString())))
              .reduce("", String::concat);

      assertThat(storage.name()).isEqualTo(file.toString());
      assertThat(
              flags
                  .lines()
                  .filter(line -> line.startsWith("flags:"))
                  .map(line -> Long.parseLong(line.substring(6).strip(), 8)))
          .anyMatch(f -> (f & LinuxFile.DIRECT) != 0);
    }
  }

  private static boolean pointsTo(Path fd, Path file) {
    try {
      return Files.readSymbolicLink(fd).equals(file.toRealPath());
    } catch (IOException e) {
      return false; // closed meanwhile
    }
  }

  private static String read(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
