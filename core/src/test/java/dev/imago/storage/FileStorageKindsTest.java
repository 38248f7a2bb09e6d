package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.FileStorage.Options;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What may be opened, and in which words the rest is refused. */
class FileStorageKindsTest {
  @TempDir(factory = InTarget.class)
  private Path folder;

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aFifoIsRefusedAndNotWaitedFor(boolean calls) throws Exception {
    Path fifo = folder.resolve("fifo");
    Tool.run("mkfifo", fifo).ok();

    assertRefused(fifo, calls, "a FIFO");
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aSocketIsRefused(boolean calls) throws Exception {
    Path socket = Files.createTempDirectory("imago").resolve("s"); // its name must be short
    try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      server.bind(UnixDomainSocketAddress.of(socket));

      assertRefused(socket, calls, "a socket");
    } finally {
      Files.delete(socket);
      Files.delete(socket.getParent());
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aCharacterDeviceIsRefused(boolean calls) {
    assertRefused(Path.of("/dev/zero"), calls, "a character device");
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aDirectoryIsRefused(boolean calls) {
    assertRefused(folder, calls, "a directory");
  }

  private static void assertRefused(Path path, boolean calls, String kind) {
    for (Options options : new Options[] {Options.readOnly(), Options.readWrite()}) {
      assertThatThrownBy(() -> FileStorage.open(path, options.withNativeAccess(calls)))
          .isInstanceOfSatisfying(
              FileSystemException.class,
              e -> {
                assertThat(e.getFile()).isEqualTo(path.toString());
                assertThat(e.getReason())
                    .isEqualTo(
                        "'file' driver requires '%s' to be a regular file or a block device, but it is %s",
                        path, kind);
              });
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aMissingFileIsReportedInTheSystemsWordsAndNotMade(boolean calls) {
    Path missing = folder.resolve("missing");
    for (Options options : new Options[] {Options.readOnly(), Options.readWrite()}) {
      assertThatThrownBy(() -> FileStorage.open(missing, options.withNativeAccess(calls)))
          .isInstanceOfSatisfying(
              NoSuchFileException.class,
              e -> assertThat(e.getReason()).isEqualTo("No such file or directory"))
          .hasMessage(missing + ": No such file or directory");
    }
    assertThat(missing).doesNotExist();
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aFileBelowAFileIsReportedInTheSystemsWords(boolean calls) throws Exception {
    Path below = Files.createFile(folder.resolve("file")).resolve("below");

    assertThatThrownBy(() -> FileStorage.open(below, Options.readOnly().withNativeAccess(calls)))
        .isInstanceOf(FileSystemException.class)
        .hasMessage(below + ": Not a directory");
    assertThatThrownBy(() -> FileStorage.create(below, Options.readWrite().withNativeAccess(calls)))
        .isInstanceOf(FileSystemException.class)
        .hasMessage(below + ": Not a directory");
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aFolderThatIsNotThereIsReportedByCreate(boolean calls) {
    Path below = folder.resolve("nowhere/file");

    assertThatThrownBy(() -> FileStorage.create(below, Options.readWrite().withNativeAccess(calls)))
        .isInstanceOf(NoSuchFileException.class)
        .hasMessage(below + ": No such file or directory");
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aReadOnlyOpenNeverOpensForWriting(boolean calls) throws Exception {
    Path file = Files.write(folder.resolve("file"), new byte[10]);
    Options options = Options.readOnly().withNativeAccess(calls);
    try (FileStorage storage = FileStorage.open(file, options)) {
      storage.flush();
      assertThat(accessModes(file)).isNotEmpty().containsOnly(0L);
      assertThat(storage.readOnly()).isTrue();
      assertThatThrownBy(() -> storage.write(ByteBuffer.allocate(1), 0))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(file + " is open read-only");
      assertThatThrownBy(() -> storage.resize(5, Storage.Preallocation.OFF))
          .isInstanceOf(IllegalStateException.class);
      assertThatThrownBy(() -> storage.discard(0, 10)).isInstanceOf(IllegalStateException.class);
      assertThatThrownBy(() -> storage.writeZeroes(0, 10, Storage.ZeroMode.SPARSE))
          .isInstanceOf(IllegalStateException.class);
    }

    assertThat(Files.readAllBytes(file)).isEqualTo(new byte[10]);
  }

  /** The access modes of this process's descriptors of a file. */
  private static Stream<Long> accessModes(Path file) throws IOException {
    try (Stream<Path> descriptors = Files.list(Path.of("/proc/self/fd"))) {
      return descriptors
          .filter(fd -> target(fd).equals(file.toString()))
          .map(fd -> flags(fd.getFileName().toString()) & 3)
          .toList()
          .stream();
    }
  }

  private static String target(Path fd) {
    try {
      return Files.readSymbolicLink(fd).toString();
    } catch (IOException e) {
      return ""; // closed meanwhile
    }
  }

  private static long flags(String fd) {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/fdinfo", fd))) {
      String flags = lines.filter(line -> line.startsWith("flags:")).findFirst().orElseThrow();
      return Long.parseLong(flags.substring(6).strip(), 8);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aSymbolicLinkIsFollowedAndTheRealPathTold(boolean calls) throws Exception {
    Path file = Files.write(folder.resolve("file"), new byte[10]);
    Path link = Files.createSymbolicLink(folder.resolve("link"), file);
    Options options = Options.readOnly().withNativeAccess(calls);
    try (FileStorage byLink = FileStorage.open(link, options);
        FileStorage byName = FileStorage.open(file, options);
        FileStorage other = FileStorage.create(folder.resolve("other"), Options.readWrite())) {
      assertThat(byLink.name()).isEqualTo(link.toString());
      assertThat(byLink.realPath()).isEqualTo(file.toRealPath());
      assertThat(byLink.isSameFile(byName)).isTrue();
      assertThat(byLink.isSameFile(other)).isFalse();
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void anEmptyFileAndAnEmptyRequestAreFine(boolean calls) throws Exception {
    Path file = Files.createFile(folder.resolve("file"));
    Options options = Options.readWrite().withNativeAccess(calls);
    try (FileStorage storage = FileStorage.open(file, options)) {
      storage.write(ByteBuffer.allocate(0), 1000);
      storage.writeZeroes(1000, 0, Storage.ZeroMode.ALLOCATED);
      storage.read(ByteBuffer.allocate(0), 1000);
      assertThat(storage.discard(1000, 0)).isTrue();
      assertThat(storage.size()).isZero();
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void anEnsuredFileKeepsItsBytesUntilItIsEmptied(boolean calls) throws Exception {
    Path file = Files.write(folder.resolve("file"), new byte[10]);
    Options options = Options.readWrite().withNativeAccess(calls);
    try (FileStorage storage = FileStorage.ensure(file, options)) {
      assertThat(file).hasSize(10);
      storage.empty();
      assertThat(file).isEmptyFile();
    }
    FileStorage.ensure(folder.resolve("new"), options).close();
    assertThat(folder.resolve("new")).isEmptyFile();
    assertThatThrownBy(() -> FileStorage.ensure(file, Options.readOnly()))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void namesWithStrangeCharactersAreOpened() throws Exception {
    Path file = folder.resolve("ein Name, 'quoted', mit Ümläut\nund mehr");
    FileStorage.create(file, Options.readWrite()).close();
    FileStorage.open(file, Options.readOnly().withNativeAccess(false)).close();

    assertThat(file).exists();
  }

  @Test
  void bypassingTheCacheWithoutNativeAccessIsRefused() throws Exception {
    Path file = Files.createFile(folder.resolve("file"));
    Options options = Options.readOnly().withNativeAccess(false).withDirect(true);

    assertThatThrownBy(() -> FileStorage.open(file, options))
        .isInstanceOf(StorageIoException.class)
        .hasMessageContaining("bypassing the page cache needs native access");
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void rangesThatDoNotExistAreRefusedBeforeAnythingIsTouched(boolean calls) throws Exception {
    Path file = folder.resolve("file");
    Options options = Options.readWrite().withNativeAccess(calls);
    try (FileStorage storage = FileStorage.create(file, options)) {
      ByteBuffer ten = ByteBuffer.allocate(10);
      assertThatThrownBy(() -> storage.read(ten, -1)).isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> storage.write(ten, Long.MAX_VALUE - 5))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> storage.discard(0, -1)).isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> storage.run(0, 0)).isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> storage.resize(-1, Storage.Preallocation.OFF))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> storage.read(ByteBuffer.allocateDirect(9).asReadOnlyBuffer(), 0))
          .isInstanceOf(IllegalArgumentException.class);
    }

    assertThat(file).isEmptyFile();
  }
}
