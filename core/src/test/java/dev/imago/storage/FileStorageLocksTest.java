package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.InstanceOfAssertFactories.type;

import dev.imago.storage.FileStorage.Options;
import dev.imago.testing.Tool;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Who may have a file open together with whom: QEMU's rules, asked of QEMU. */
class FileStorageLocksTest {
  private static final byte[] CONTENT = new byte[65536];

  @TempDir(factory = InTarget.class)
  private Path folder;

  private Path file;

  @BeforeEach
  void makeFile() throws Exception {
    file = folder.resolve("disk.qcow2");
    Tool.run("qemu-img", "create", "-q", "-f", "qcow2", file, "1M").ok();
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void qemusWriterKeepsOurWriterAndOurReaderOut(boolean calls) throws Exception {
    try (var _ = QemuHolder.open(file, "-f", "qcow2")) {
      assertRefused(() -> FileStorage.open(file, writer(calls)), "\"write\"");
      assertRefused(() -> FileStorage.open(file, reader(calls)), "shared \"write\"");
      FileStorage.open(file, reader(calls).withLock(false)).close();
    }
    FileStorage.open(file, writer(calls)).close();
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void qemusReaderKeepsOurWriterOutOnly(boolean calls) throws Exception {
    try (var _ = QemuHolder.open(file, "-r", "-f", "qcow2")) {
      assertRefused(() -> FileStorage.open(file, writer(calls)), "\"write\"");
      FileStorage.open(file, reader(calls)).close();
    }
  }

  /** A raw image lets QEMU's writers share; ours does not want to share with them. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void qemusRawWriterKeepsOurWriterAndOurReaderOut(boolean calls) throws Exception {
    Files.write(file, CONTENT);
    try (var _ = QemuHolder.open(file, "-f", "raw")) {
      assertRefused(() -> FileStorage.open(file, writer(calls)), "shared \"write\"");
      assertRefused(() -> FileStorage.open(file, reader(calls)), "shared \"write\"");
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void ourWriterKeepsQemuOut(boolean calls) throws Exception {
    try (var _ = FileStorage.open(file, writer(calls))) {
      assertQemuRefused("Failed to get \"write\" lock", "-f", "qcow2");
      assertQemuRefused("Failed to get shared \"write\" lock", "-r", "-f", "qcow2");
      Tool.run("qemu-io", "-r", "-U", "-f", "qcow2", "-c", "quit", file).ok();
    }
    Tool.run("qemu-io", "-f", "qcow2", "-c", "quit", file).ok();
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void ourReaderKeepsQemusWriterOutOnly(boolean calls) throws Exception {
    try (var _ = FileStorage.open(file, reader(calls))) {
      assertQemuRefused("Failed to get \"write\" lock", "-f", "qcow2");
      Tool.run("qemu-io", "-r", "-f", "qcow2", "-c", "quit", file).ok();
    }
  }

  @ParameterizedTest
  @CsvSource({"true,true", "true,false", "false,true", "false,false"})
  void twoOfOneProcessFollowTheSameRules(boolean firstCalls, boolean secondCalls) throws Exception {
    try (var _ = FileStorage.open(file, writer(firstCalls))) {
      assertRefused(() -> FileStorage.open(file, writer(secondCalls)), "\"write\"");
      assertRefused(() -> FileStorage.open(file, reader(secondCalls)), "shared \"write\"");
    }
    try (var _ = FileStorage.open(file, reader(firstCalls))) {
      FileStorage.open(file, reader(secondCalls)).close();
      assertRefused(() -> FileStorage.open(file, writer(secondCalls)), "\"write\"");
    }
    FileStorage.open(file, writer(secondCalls)).close();
  }

  @ParameterizedTest
  @CsvSource({"true,true", "true,false", "false,true", "false,false"})
  void closingOneLeavesTheOthersLocksAlone(boolean firstCalls, boolean secondCalls)
      throws Exception {
    try (var _ = FileStorage.open(file, reader(firstCalls))) {
      FileStorage.open(file, reader(secondCalls)).close();
      FileStorage.open(file, reader(secondCalls).withLock(false)).close();
      assertQemuRefused("Failed to get \"write\" lock", "-f", "qcow2");
    }
    try (var _ = FileStorage.open(file, writer(firstCalls))) {
      FileStorage.open(file, reader(secondCalls).withLock(false)).close();
      assertRefused(() -> FileStorage.open(file, reader(secondCalls)), "shared \"write\"");
      assertQemuRefused("Failed to get shared \"write\" lock", "-r", "-f", "qcow2");
    }
  }

  @ParameterizedTest
  @CsvSource({"true,true", "true,false", "false,true", "false,false"})
  void creatingOverAFileInUseIsRefusedAndChangesNothing(boolean calls, boolean lock)
      throws Exception {
    byte[] before = Files.readAllBytes(file);
    Options options = writer(calls).withLock(lock);
    try (var _ = QemuHolder.open(file, "-r", "-f", "qcow2")) {
      assertRefused(() -> FileStorage.create(file, options), "\"write\"");
    }
    try (var _ = FileStorage.open(file, reader(true))) {
      assertRefused(() -> FileStorage.create(file, options), "\"write\"");
    }

    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void creatingOverAFileLeavesNothingOfItsOldContent(boolean calls) throws Exception {
    try (FileStorage storage = FileStorage.create(file, writer(calls))) {
      assertThat(storage.size()).isZero();
      storage.resize(100, Storage.Preallocation.OFF);
    }

    assertThat(Files.readAllBytes(file)).isEqualTo(new byte[100]);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void creatingWithoutLocksHoldsNoneAfterwards(boolean calls) throws Exception {
    try (var _ = FileStorage.create(file, writer(calls).withLock(false))) {
      FileStorage.open(file, writer(calls)).close();
      Tool.run("qemu-io", "-f", "raw", "-c", "quit", file).ok();
    }
  }

  @Test
  void locksSurviveAnInterruptAndAnotherDescriptorOfTheFile() throws Exception {
    try (FileStorage storage = FileStorage.open(file, writer(true))) {
      Thread.currentThread().interrupt();
      storage.read(ByteBuffer.allocate(100), 0);
      assertThat(Thread.interrupted()).isTrue();
      assertThat(Files.readAllBytes(file)).isNotEmpty(); // opens and closes the file
      assertQemuRefused("Failed to get \"write\" lock", "-f", "qcow2");
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void anInterruptedThreadOpensAndLocks(boolean calls) throws Exception {
    Thread.currentThread().interrupt();
    try (FileStorage storage = FileStorage.open(file, writer(calls))) {
      storage.size();
      assertThat(Thread.interrupted()).isTrue();
      assertQemuRefused("Failed to get \"write\" lock", "-f", "qcow2");
    }
  }

  @ParameterizedTest
  @CsvSource({"true,true", "true,false", "false,true", "false,false"})
  void aFileMadeJustNowKeepsItsLocksToo(boolean firstCalls, boolean secondCalls) throws Exception {
    Path made = folder.resolve("made");
    try (var _ = FileStorage.create(made, writer(firstCalls))) {
      FileStorage.open(made, reader(secondCalls).withLock(false)).close();
      Tool.Outcome outcome = Tool.run("qemu-io", "-f", "raw", "-c", "quit", made);
      assertThat(outcome.err()).contains("Failed to get \"write\" lock");
    }
  }

  @Test
  void theMessageNamesTheFileAndTheLock() throws Exception {
    try (var _ = FileStorage.open(file, writer(true))) {
      assertThatThrownBy(() -> FileStorage.open(file, reader(true)))
          .hasMessage(file + ": failed to get shared \"write\" lock: another process is using it");
    }
  }

  private static Options reader(boolean calls) {
    return Options.readOnly().withNativeAccess(calls);
  }

  private static Options writer(boolean calls) {
    return Options.readWrite().withNativeAccess(calls);
  }

  private void assertRefused(ThrowingCallable opening, String lock) {
    assertThatThrownBy(opening)
        .asInstanceOf(type(StorageLockedException.class))
        .satisfies(
            e -> {
              assertThat(e.name()).isEqualTo(file.toString());
              assertThat(e.lock()).isEqualTo(lock);
            });
  }

  private void assertQemuRefused(String words, String... options) throws Exception {
    Object[] command = new Object[options.length + 4];
    command[0] = "qemu-io";
    System.arraycopy(options, 0, command, 1, options.length);
    command[options.length + 1] = "-c";
    command[options.length + 2] = "quit";
    command[options.length + 3] = file;
    Tool.Outcome outcome = Tool.run(command);
    assertThat(outcome.status()).isNotZero();
    assertThat(outcome.err()).contains(words);
  }
}
