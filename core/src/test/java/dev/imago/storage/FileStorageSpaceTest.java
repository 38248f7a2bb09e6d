package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.FileStorage.Options;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.Storage.Run;
import dev.imago.storage.Storage.ZeroMode;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Size, holes, and the host space behind them. */
class FileStorageSpaceTest {
  private static final int MIB = 1 << 20;

  @TempDir(factory = InTarget.class)
  private Path folder;

  private Path file() {
    return folder.resolve("disk");
  }

  private static ByteBuffer ones(int length) {
    byte[] bytes = new byte[length];
    Arrays.fill(bytes, (byte) 1);
    return ByteBuffer.wrap(bytes);
  }

  /** As the host counts. */
  private long hostBytes() throws Exception {
    return 512 * Long.parseLong(Tool.run("stat", "-c", "%b", file()).ok().out().strip());
  }

  @ParameterizedTest
  @EnumSource(names = {"CALLS", "BYPASSING_THE_CACHE"})
  void discardGivesHostSpaceBack(StorageKind kind) throws Exception {
    try (Storage storage = kind.create(file())) {
      storage.write(ones(4 * MIB), 0);
      storage.flush();
      assertThat(hostBytes()).isGreaterThanOrEqualTo(4 * MIB);
      assertThat(storage.allocatedBytes()).isEqualTo(hostBytes());

      assertThat(storage.discard(MIB, 2 * MIB)).isTrue();

      assertThat(hostBytes()).isLessThan(2 * MIB + 65536);
      assertThat(storage.size()).isEqualTo(4 * MIB);
      assertThat(storage.run(0, 4 * MIB)).isEqualTo(new Run(true, MIB));
      assertThat(storage.run(MIB, 4 * MIB)).isEqualTo(new Run(false, 2 * MIB));
      assertThat(storage.run(MIB + 5, 100)).isEqualTo(new Run(false, 100));
      assertThat(storage.run(3 * MIB + 5, 8 * MIB)).isEqualTo(new Run(true, MIB - 5));
    }
  }

  @ParameterizedTest
  @EnumSource
  void aDiscardOrZeroThatReachesTheEndDoesNotTruncate(StorageKind kind) throws Exception {
    try (Storage storage = kind.create(file())) {
      storage.write(ones(10_000), 0);
      storage.discard(5000, 5000);
      storage.discard(5000, 50_000);
      assertThat(storage.size()).isEqualTo(10_000);
      storage.writeZeroes(6000, 4000, ZeroMode.SPARSE);
      assertThat(storage.size()).isEqualTo(10_000);
      storage.writeZeroes(6000, 6001, ZeroMode.SPARSE);
      assertThat(storage.size()).isEqualTo(12_001);
      storage.writeZeroes(12_000, 1001, ZeroMode.ALLOCATED);
      assertThat(storage.size()).isEqualTo(13_001);
      ByteBuffer all = ByteBuffer.allocate(13_001);
      storage.read(all, 0);
      byte[] expected = Arrays.copyOf(ones(5000).array(), 13_001);
      Arrays.fill(expected, 5000, 6000, all.get(5000)); // as discard left it
      assertThat(all.array()).isEqualTo(expected);
    }
  }

  @ParameterizedTest
  @EnumSource
  void aZeroInsideOneBlockSparesItsNeighbours(StorageKind kind) throws Exception {
    for (ZeroMode mode : ZeroMode.values()) {
      try (Storage storage = kind.create(file())) {
        storage.write(ones(3 * 4096), 0);
        storage.writeZeroes(4100, 50, mode);
        storage.writeZeroes(8000, 300, mode);
        ByteBuffer all = ByteBuffer.allocate(3 * 4096);
        storage.read(all, 0);
        byte[] expected = ones(3 * 4096).array();
        Arrays.fill(expected, 4100, 4150, (byte) 0);
        Arrays.fill(expected, 8000, 8300, (byte) 0);
        assertThat(all.array()).isEqualTo(expected);
      }
    }
  }

  /** Their blocks are asked for first, and no others. */
  @Test
  void longWritesTakeTheSpaceThatTheyFill() throws Exception {
    try (Storage storage = FileStorage.create(file(), Options.readWrite())) {
      storage.write(ones(MIB), 0);
      storage.write(
          new ByteBuffer[] {ByteBuffer.allocateDirect(MIB / 2), ByteBuffer.allocateDirect(MIB)},
          3L * MIB);

      assertThat(storage.size()).isEqualTo(4 * MIB + MIB / 2);
      assertThat(hostBytes()).isBetween(2L * MIB + MIB / 2, 4L * MIB);
      assertThat(storage.run(0, 8 * MIB)).isEqualTo(new Run(true, MIB));
      assertThat(storage.run(MIB, 8 * MIB)).isEqualTo(new Run(false, 2 * MIB));
      assertThat(storage.run(3 * MIB, 8 * MIB)).isEqualTo(new Run(true, MIB + MIB / 2));
    }
  }

  /** What the host does not copy is not asked for either: it may be any length. */
  @Test
  void aCopyOfNothingTakesNoSpace() throws Exception {
    try (Storage source = FileStorage.create(folder.resolve("empty"), Options.readWrite());
        Storage storage = FileStorage.create(file(), Options.readWrite())) {
      assertThat(storage.copyFrom(source, 0, 0, 8 * MIB)).isZero();

      assertThat(hostBytes()).isZero();
    }
  }

  @Test
  void sparseZeroesAreAHoleAndAllocatedOnesAreNot() throws Exception {
    try (Storage storage = FileStorage.create(file(), Options.readWrite())) {
      storage.writeZeroes(0, 64 * MIB, ZeroMode.SPARSE);
      assertThat(storage.size()).isEqualTo(64 * MIB);
      assertThat(hostBytes()).isLessThan(65536);

      storage.writeZeroes(0, MIB, ZeroMode.ALLOCATED);
      assertThat(hostBytes()).isGreaterThanOrEqualTo(MIB);

      storage.write(ones(MIB), 0);
      storage.writeZeroes(0, MIB, ZeroMode.SPARSE);
      storage.flush();
      assertThat(hostBytes()).isLessThan(65536);
      assertThat(storage.run(0, MIB)).isEqualTo(new Run(false, MIB));
    }
  }

  @ParameterizedTest
  @EnumSource
  void resizeKeepsWhatWasThereAndNewBytesAreZero(StorageKind kind) throws Exception {
    for (Preallocation preallocation : Preallocation.values()) {
      try (Storage storage = kind.create(file())) {
        storage.write(ones(5000), 0);
        storage.resize(3000, preallocation);
        storage.resize(9001, preallocation);
        assertThat(storage.size()).isEqualTo(9001);
        ByteBuffer all = ByteBuffer.allocate(9001);
        storage.read(all, 0);
        assertThat(all.array()).isEqualTo(Arrays.copyOf(ones(3000).array(), 9001));
      }
    }
  }

  @Test
  void resizeProvidesTheSpaceThatWasAskedFor() throws Exception {
    try (FileStorage storage = FileStorage.create(file(), Options.readWrite())) {
      storage.resize(MIB, Preallocation.OFF);
      assertThat(hostBytes()).isZero();
      storage.resize(2 * MIB, Preallocation.FALLOC);
      assertThat(hostBytes()).isBetween((long) MIB, MIB + 65536L);
      storage.resize(3 * MIB, Preallocation.FULL);
      storage.flush();
      assertThat(hostBytes()).isBetween(2L * MIB, 2 * MIB + 65536L);
      assertThat(storage.run(0, 3 * MIB)).isEqualTo(new Run(false, 2 * MIB));
    }
  }

  /** A file system in memory says at once that it will never have that much. */
  @Test
  void aFullDiskIsReportedInTheSystemsWordsAndTheFileGetsItsOldSizeBack() throws Exception {
    Path onTmpfs = Files.createTempFile(Path.of("/dev/shm"), "imago", ".raw");
    try (FileStorage storage = FileStorage.open(onTmpfs, Options.readWrite())) {
      storage.write(ones(10_000), 0);
      long tooMuch = 1L << 50;

      assertThatThrownBy(() -> storage.resize(tooMuch, Preallocation.FALLOC))
          .isInstanceOfSatisfying(
              StorageIoException.class,
              e -> {
                assertThat(e.getReason()).isEqualTo("No space left on device");
                assertThat(e.getFile()).isEqualTo(onTmpfs.toString());
              })
          .hasMessage(
              "%s: No space left on device (allocation of %d bytes at host offset 0x2710)",
              onTmpfs, tooMuch - 10_000);
      assertThat(storage.size()).isEqualTo(10_000);
      ByteBuffer all = ByteBuffer.allocate(10_000);
      storage.read(all, 0);
      assertThat(all.array()).isEqualTo(ones(10_000).array());
    } finally {
      Files.delete(onTmpfs);
    }
  }

  @Test
  void aFileSystemWithoutZeroRangesGetsZeroesWritten() throws Exception {
    Path onTmpfs = Files.createTempFile(Path.of("/dev/shm"), "imago", ".raw");
    try (FileStorage storage = FileStorage.open(onTmpfs, Options.readWrite())) {
      storage.write(ones(MIB), 0);
      storage.writeZeroes(100, MIB, ZeroMode.ALLOCATED);

      assertThat(storage.size()).isEqualTo(MIB + 100);
      assertThat(storage.allocatedBytes()).isGreaterThanOrEqualTo(MIB + 100);
      assertThat(Files.readAllBytes(onTmpfs))
          .isEqualTo(Arrays.copyOf(ones(100).array(), MIB + 100));
    } finally {
      Files.delete(onTmpfs);
    }
  }

  @ParameterizedTest
  @EnumSource(
      names = {"MEMORY", "TAGGED"},
      mode = EnumSource.Mode.EXCLUDE)
  void aWriteThatTheSystemRefusesIsReportedWithItsPlace(StorageKind kind) throws Exception {
    long tooFar = 1L << 60;
    try (Storage storage = kind.create(file())) {
      kind.onItsThread(
          () ->
              assertThatThrownBy(() -> storage.write(ones(512), tooFar))
                  .isInstanceOfSatisfying(
                      StorageIoException.class,
                      e -> {
                        assertThat(e.getReason()).isIn("File too large", "Invalid argument");
                        assertThat(e.hostOffset()).isEqualTo(tooFar);
                      })
                  .hasMessageStartingWith(file() + ": ")
                  .hasMessageEndingWith(" (write of 512 bytes at host offset 0x1000000000000000)"));
      storage.write(ones(512), 0);
      assertThat(storage.size()).isEqualTo(512);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aSizeChangedByOthersIsNoticed(boolean calls) throws Exception {
    Options options = Options.readWrite().withNativeAccess(calls);
    try (FileStorage storage = FileStorage.create(file(), options)) {
      storage.resize(100, Preallocation.OFF);
      // Through another descriptor of another process: closing one of ours could drop locks.
      Tool.run("truncate", "-s", "5000", file()).ok();
      assertThat(storage.size()).isEqualTo(5000);
      Tool.run("truncate", "-s", "50", file()).ok();
      assertThat(storage.size()).isEqualTo(50);
      ByteBuffer past = ones(100);
      storage.read(past, 0);
      assertThat(past.array()).isEqualTo(new byte[100]);
    }
  }

  @Test
  void growingByZeroesDoesNotCutOffWhatOthersAppend() throws Exception {
    int pieces = 200;
    try (FileStorage storage = FileStorage.create(file(), Options.readWrite())) {
      List<StorageKind.Body> bodies = new ArrayList<>();
      bodies.add(
          () -> {
            for (int i = 0; i < pieces; i += 2) {
              storage.writeZeroes(i * 5000L, 5000, ZeroMode.SPARSE);
            }
          });
      bodies.add(
          () -> {
            for (int i = 1; i < pieces; i += 2) {
              storage.write(ones(5000), i * 5000L);
            }
          });
      Threads.runAll(Thread.ofPlatform(), bodies);
    }

    byte[] expected = new byte[pieces * 5000];
    for (int i = 1; i < pieces; i += 2) {
      Arrays.fill(expected, i * 5000, (i + 1) * 5000, (byte) 1);
    }
    assertThat(Files.readAllBytes(file())).isEqualTo(expected);
  }

  @Test
  void aFileMadeWithoutNativeAccessIsSparseWhereItGrew() throws Exception {
    Options options = Options.readWrite().withNativeAccess(false);
    try (FileStorage storage = FileStorage.create(file(), options)) {
      storage.resize(64L * MIB, Preallocation.OFF);
      storage.writeZeroes(64L * MIB, 64L * MIB, ZeroMode.SPARSE);
      assertThat(storage.size()).isEqualTo(128L * MIB);
      assertThat(hostBytes()).isLessThan(65536);
      assertThat(storage.allocatedBytes()).isEqualTo(-1);
    }
  }

  /** It waited for the disk, at each cluster that an image got at the end of its file. */
  @Test
  void aFileThatGrowsOverAHoleIsNotPunched() throws Exception {
    ScriptedFile host = new ScriptedFile();
    OpenWays.Ticket ticket = OpenWays.enter(null, true);
    try (FileStorage storage = FileStorage.of("disk", host, Options.readWrite(), false, ticket)) {
      storage.writeZeroes(0, 4096, ZeroMode.SPARSE);
      storage.writeZeroes(1 << 20, 65536, ZeroMode.SPARSE);
      assertThat(host.punched).isEmpty();

      host.size = 10_000;
      storage.writeZeroes(8192, 4096, ZeroMode.SPARSE);
      assertThat(host.punched).containsExactly("8192+4096");
    }
  }

  @Test
  void aFailedFlushFailsForEver() throws Exception {
    Files.write(file(), new byte[10], StandardOpenOption.CREATE);
    ScriptedFile failing = new ScriptedFile();
    OpenWays.Ticket ticket = OpenWays.enter(null, true);
    try (FileStorage storage =
        FileStorage.of("disk", failing, Options.readWrite(), false, ticket)) {
      storage.flush();
      failing.fails = true;
      assertThatThrownBy(storage::flush).hasMessage("disk: Input/output error");
      failing.fails = false;
      assertThatThrownBy(storage::flush)
          .hasMessage("disk: an earlier flush failed: Input/output error");
    }
  }

  /** A file that says what is done to it, and may lose a write. */
  private static final class ScriptedFile implements HostFile {
    private boolean fails;
    private long size;
    private final List<String> punched = new ArrayList<>();

    @Override
    public boolean punch(long at, long length) {
      punched.add(at + "+" + length);
      return true;
    }

    @Override
    public void read(ByteBuffer dst, long at) {}

    @Override
    public void write(ByteBuffer src, long at) {}

    @Override
    public void truncate(long size) {}

    @Override
    public Run run(long at, long maxLength) {
      return new Run(true, maxLength);
    }

    @Override
    public long size() {
      return size;
    }

    @Override
    public void sync() throws IOException {
      if (fails) {
        throw new StorageIoException("disk", "Input/output error");
      }
    }

    @Override
    public void close() {}
  }
}
