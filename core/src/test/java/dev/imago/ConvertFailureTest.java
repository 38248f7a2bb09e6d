package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.ImageFormatException;
import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import dev.imago.raw.Raw;
import dev.imago.storage.FileStorage;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.StorageLockedException;
import dev.imago.testing.FaultyStorage;
import dev.imago.testing.OpenFiles;
import dev.imago.testing.StorageCall;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a copy that fails leaves behind: nothing that looks whole, and nothing open. */
class ConvertFailureTest {
  private static final int SIZE = 8 << 20;

  @TempDir Path folder;
  private final FaultyStorage faulty = new FaultyStorage(new MemoryStorage("source"));

  @BeforeEach
  void fillSource() throws IOException {
    byte[] bytes = new byte[SIZE];
    Arrays.fill(bytes, (byte) 3);
    faulty.write(ByteBuffer.wrap(bytes), 0);
  }

  @AfterEach
  void nothingIsLeftOpen() throws IOException {
    assertThat(OpenFiles.below(folder)).isEmpty();
    assertThat(Thread.getAllStackTraces().keySet())
        .noneMatch(thread -> thread.getName().startsWith("imago-convert"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"raw", "qcow2"})
  void anUnreadableSourceRemovesTheTarget(String format) throws Exception {
    faulty.failWhen(r -> r.call() == StorageCall.READ && r.touches(5 << 20, 1));
    Path target = folder.resolve("target");

    assertThatThrownBy(() -> convert(target, CreateOptions.of(format, 0)))
        .isInstanceOfSatisfying(
            ConvertException.class,
            e -> {
              assertThat(e.writing()).isFalse();
              assertThat(e.guestOffset()).isEqualTo(5 << 20);
            })
        .hasMessageStartingWith("error while reading at byte 5242880: ");
    assertThat(target).doesNotExist();
  }

  @Test
  void aTargetThatWasThereBeforeIsLeftEmptyRatherThanHalfFull() throws Exception {
    faulty.failWhen(r -> r.call() == StorageCall.READ && r.touches(5 << 20, 1));
    Path target = Files.write(folder.resolve("target"), new byte[5000]);
    Path link = Files.createSymbolicLink(folder.resolve("link"), target);

    assertThatThrownBy(() -> convert(link, CreateOptions.of("raw", 0)))
        .isInstanceOf(ConvertException.class);

    assertThat(target).isEmptyFile();
    assertThat(link).isSymbolicLink();
  }

  @Test
  void aTargetThatWasThereKeepsItsBytesWhenItsBackingFileMayNotBeOpened() throws Exception {
    Images.create(folder.resolve("base"), CreateOptions.of("qcow2", SIZE));
    Path target = Files.write(folder.resolve("target"), new byte[5000]);
    CreateOptions options = CreateOptions.of("qcow2", 0).backing("base", "qcow2");

    try (Image source = Raw.open(faulty, false, SyncMode.FULL)) {
      assertThatThrownBy(
              () -> Convert.from(source).references(References.deny()).to(target, options))
          .isInstanceOf(ReferenceDeniedException.class);
    }

    assertThat(target).hasBinaryContent(new byte[5000]);
  }

  @Test
  void aTargetsDataFileGoesTheSameWay() throws Exception {
    faulty.failWhen(r -> r.call() == StorageCall.READ && r.touches(5 << 20, 1));
    var options = CreateOptions.of("qcow2", 0).dataFile("data", false);

    assertThatThrownBy(() -> convert(folder.resolve("target"), options))
        .isInstanceOf(ConvertException.class);

    assertThat(folder).isEmptyDirectory();
  }

  @Test
  void aFullTargetIsReportedWithItsPlace() throws Exception {
    var full = new FaultyStorage(new MemoryStorage("target"));
    full.resize(SIZE, Preallocation.OFF);
    full.fullAfter(3 << 20);

    try (Image source = Raw.open(faulty, false, SyncMode.FULL);
        Image target = Raw.open(full, true, SyncMode.FULL)) {
      assertThatThrownBy(() -> Convert.from(source).parallelism(1).to(target))
          .isInstanceOfSatisfying(
              ConvertException.class,
              e -> {
                assertThat(e.writing()).isTrue();
                assertThat(e.guestOffset()).isEqualTo(3 << 20);
              })
          .hasMessageContaining("error while writing at byte 3145728: ")
          .hasMessageContaining("No space left on device");
    }
  }

  @Test
  void aTargetInUseIsLeftAsItIs() throws Exception {
    Path target = Files.write(folder.resolve("target"), new byte[5000]);

    try (var user = FileStorage.open(target, FileStorage.Options.readOnly())) {
      assertThat(user.size()).isEqualTo(5000);
      assertThatThrownBy(() -> convert(target, CreateOptions.of("raw", 0)))
          .isInstanceOf(StorageLockedException.class);
    }
    assertThat(target).hasSize(5000);
  }

  @Test
  void contradictingOptionsAreFoundBeforeAnExistingFileIsEmptied() throws Exception {
    Path target = Files.write(folder.resolve("target"), new byte[5000]);

    assertThatThrownBy(() -> convert(target, CreateOptions.of("qcow2", 0).clusterSize(3)))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> convert(target, CreateOptions.of("raw", 0).dataFile("x", false)))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> convert(target, CreateOptions.of("vmdk", 0)))
        .isInstanceOf(UnknownFormatException.class)
        .hasMessage("Unknown file format 'vmdk'");
    assertThatThrownBy(() -> convert(target, CreateOptions.of("qcow2", 0).backing("target", "raw")))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("Trying to create an image with the same filename as the backing file");

    assertThat(target).hasSize(5000);
  }

  @Test
  void aSourceOpenedWithoutLocksIsNotOverwrittenByItself() throws Exception {
    Path file = Disks.raw(folder.resolve("a.raw"), Disks.random(1, 1 << 20));
    byte[] before = Files.readAllBytes(file);
    OpenOptions shared = OpenOptions.of(References.deny()).format("raw").forceShare(true);

    try (Image source = Images.open(file, shared)) {
      assertThatThrownBy(() -> Convert.from(source).to(file, CreateOptions.of("raw", 0)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(file + " is both source and target");
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
  }

  /** With no locks in the way, the target was emptied, and with it all that the source had. */
  @Test
  void theDataFileOfASourceOpenedWithoutLocksIsNoTarget() throws Exception {
    Path file = folder.resolve("a.qcow2");
    Path data = folder.resolve("a.data");
    Images.create(file, CreateOptions.of("qcow2", 1 << 20).dataFile("a.data", true));
    Disks.raw(data, Disks.random(1, 1 << 20));
    byte[] before = Files.readAllBytes(data);
    OpenOptions shared = OpenOptions.of(References.under(folder)).forceShare(true);

    try (Image source = Images.open(file, shared)) {
      assertThatThrownBy(() -> Convert.from(source).to(data, CreateOptions.of("raw", 0)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(data + " is both source and target");
    }
    assertThat(Files.readAllBytes(data)).isEqualTo(before);
  }

  @Test
  void aSourceOpenedWithoutLocksIsNotTheTargetsDataFile() throws Exception {
    Path file = Disks.raw(folder.resolve("a.raw"), Disks.random(1, 1 << 20));
    byte[] before = Files.readAllBytes(file);
    OpenOptions shared = OpenOptions.of(References.deny()).format("raw").forceShare(true);
    CreateOptions onItself = CreateOptions.of("qcow2", 0).dataFile(file.toString(), false);

    try (Image source = Images.open(file, shared)) {
      assertThatThrownBy(() -> Convert.from(source).to(folder.resolve("new.qcow2"), onItself))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(file + " is both source and target");
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
    assertThat(folder.resolve("new.qcow2")).doesNotExist();
  }

  @Test
  void anUnfinishedQcow2ImageDoesNotLookWhole() throws Exception {
    Path target = folder.resolve("target");
    var looked = new AtomicInteger();
    try (Image source = Raw.open(faulty, false, SyncMode.FULL)) {
      Convert.from(source)
          .progress(
              (done, total) -> {
                if (done > 0 && done < total) {
                  looked.incrementAndGet();
                  assertThatThrownBy(
                          () ->
                              Images.open(
                                  target, OpenOptions.of(References.deny()).forceShare(true)))
                      .isInstanceOf(ImageFormatException.class)
                      .hasMessageContaining("this image was never finished");
                }
              })
          .to(target, CreateOptions.of("qcow2", 0));
    }
    assertThat(looked).hasPositiveValue();
    Images.openReadOnly(target, References.deny()).close();
  }

  @Test
  void anInterruptStopsTheCopyAndRemovesTheTarget() throws Exception {
    Path target = folder.resolve("target");
    try (Image source = Raw.open(faulty, false, SyncMode.FULL)) {
      assertThatThrownBy(
              () ->
                  Convert.from(source)
                      .progress((done, total) -> Thread.currentThread().interrupt())
                      .parallelism(1)
                      .to(target, CreateOptions.of("qcow2", 0)))
          .isInstanceOf(InterruptedIOException.class);
    }
    assertThat(Thread.interrupted()).isTrue();
    assertThat(target).doesNotExist();
  }

  @Test
  void aMistakeOfTheProgressListenerIsNotSwallowed() throws Exception {
    Path target = folder.resolve("target");
    try (Image source = Raw.open(faulty, false, SyncMode.FULL)) {
      assertThatThrownBy(
              () ->
                  Convert.from(source)
                      .progress(
                          (done, total) -> {
                            throw new IllegalStateException("mine");
                          })
                      .to(target, CreateOptions.of("raw", 0)))
          .hasMessage("mine");
    }
    assertThat(target).doesNotExist();
  }

  private void convert(Path target, CreateOptions options) throws IOException {
    Image source = Raw.open(faulty, false, SyncMode.FULL);
    Convert.from(source).to(target, options);
  }
}
