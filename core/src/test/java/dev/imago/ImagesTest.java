package dev.imago;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.ImageFormatException;
import dev.imago.image.Progress;
import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.References;
import dev.imago.storage.FileStorage;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.StorageIoException;
import dev.imago.storage.StorageLockedException;
import dev.imago.testing.OpenFiles;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ImagesTest {
  @TempDir Path folder;

  @AfterEach
  void nothingIsLeftOpen() throws IOException {
    assertThat(OpenFiles.below(folder)).isEmpty();
  }

  @Test
  void whatWasCreatedIsOpenedAgainByProbing() throws Exception {
    for (String format : Images.formats()) {
      Path file = folder.resolve(format);
      Images.create(file, CreateOptions.of(format, 1 << 20));
      try (Image image = Images.openReadOnly(file, References.deny())) {
        assertThat(image.format()).isEqualTo(format);
        assertThat(image.size()).isEqualTo(1 << 20);
        assertThat(image.name()).isEqualTo(file.toString());
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"OFF, 0", "FALLOC, 1048576", "FULL, 1048576"})
  void aRawImageIsPreallocatedAsAsked(CreateOptions.Preallocation how, long atLeast)
      throws Exception {
    Path file = folder.resolve("a.raw");
    Images.create(file, CreateOptions.of("raw", (1 << 20) - 100).preallocation(how));

    assertThat(Files.size(file)).isEqualTo(1 << 20);
    assertThat(Images.inspect(file).allocatedBytes()).isGreaterThanOrEqualTo(atLeast);
  }

  @ParameterizedTest
  @CsvSource({"OFF", "METADATA", "FALLOC", "FULL"})
  void qemuAcceptsEveryPreallocation(CreateOptions.Preallocation how) throws Exception {
    Path file = folder.resolve("a.qcow2");
    Images.create(file, CreateOptions.of("qcow2", 4 << 20).preallocation(how));

    Qemu.check(file).clean();
  }

  @Test
  void aFileThatWasThereIsReplacedAndALinkToItStays() throws Exception {
    Path file = Files.write(folder.resolve("file"), new byte[3 << 20]);
    Path link = Files.createSymbolicLink(folder.resolve("link"), file);

    Images.create(link, CreateOptions.of("qcow2", 1 << 20));

    assertThat(link).isSymbolicLink();
    Qemu.check(file).clean();
    assertThat(Files.size(file)).isLessThan(1 << 20);
  }

  @Test
  void aFailedCreationLeavesNoFile() throws Exception {
    Path file = folder.resolve("none");

    assertThatThrownBy(() -> Images.create(file, CreateOptions.of("qcow2", 1L << 62)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("The image size is too large for file format 'qcow2'");
    assertThatThrownBy(() -> Images.create(file, CreateOptions.of("raw", Long.MAX_VALUE)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("The image size is too large for file format 'raw'");
    assertThatThrownBy(() -> Images.create(file, CreateOptions.of("raw", 1L << 62)))
        .isInstanceOf(IOException.class);
    assertThatThrownBy(
            () ->
                Images.create(file, CreateOptions.of("qcow2", 512).dataFile("missing/data", false)))
        .isInstanceOf(NoSuchFileException.class);

    assertThat(file).doesNotExist();
  }

  @Test
  void aFileThatWasThereKeepsItsBytesWhenItsDataFileCannotBeMade() throws Exception {
    byte[] before = "what was there".getBytes(UTF_8);
    Path file = Files.write(folder.resolve("file"), before);
    Path busy = Files.write(folder.resolve("busy"), before);

    assertThatThrownBy(
            () ->
                Images.create(file, CreateOptions.of("qcow2", 512).dataFile("missing/data", false)))
        .isInstanceOf(NoSuchFileException.class);
    try (var _ = FileStorage.open(busy, FileStorage.Options.readOnly())) {
      assertThatThrownBy(
              () -> Images.create(file, CreateOptions.of("qcow2", 512).dataFile("busy", false)))
          .isInstanceOf(StorageLockedException.class);
      assertThatThrownBy(
              () -> Images.create(busy, CreateOptions.of("qcow2", 512).dataFile("file", false)))
          .isInstanceOf(StorageLockedException.class);
    }

    assertThat(file).hasBinaryContent(before);
    assertThat(busy).hasBinaryContent(before);
  }

  @Test
  void aFileThatWasThereKeepsItsBytesWhenTheFileSystemHasNoneSoLong() throws Exception {
    byte[] before = "what was there".getBytes(UTF_8);
    Path file = Files.write(folder.resolve("file"), before);

    assertThatThrownBy(() -> Images.create(file, CreateOptions.of("raw", 1L << 62)))
        .isInstanceOf(IOException.class);

    assertThat(file).hasBinaryContent(before);
  }

  @Test
  void aRawImageInPlaceOfAShorterFileHasNothingOfIt() throws Exception {
    Path file = Files.write(folder.resolve("file"), "what was there".getBytes(UTF_8));
    Path data = Files.write(folder.resolve("data"), "what was there".getBytes(UTF_8));

    Images.create(file, CreateOptions.of("raw", 1024));
    assertThat(file).hasBinaryContent(new byte[1024]);
    Images.create(file, CreateOptions.of("qcow2", 1024).dataFile("data", false));
    assertThat(data).hasBinaryContent(new byte[1024]);
  }

  @Test
  void anImageIsNotItsOwnDataFile() throws Exception {
    assertThatThrownBy(
            () ->
                Images.create(
                    folder.resolve("a"), CreateOptions.of("qcow2", 512).dataFile("a", false)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("The data file must be neither the image nor its backing file");
    assertThat(folder).isEmptyDirectory();
  }

  @Test
  void inspectionOpensNothingThatTheFileNames() throws Exception {
    Path file = folder.resolve("a.qcow2");
    Qemu.img(
        "create", "-q", "-u", "-f", "qcow2", "-b", "/proc/self/mem", "-F", "raw", file, 1 << 20);

    Inspection found = Images.inspect(file);

    assertThat(found.format()).isEqualTo("qcow2");
    assertThat(found.matching()).containsExactly("qcow2", "raw");
    assertThat(found.virtualSize()).isEqualTo(1 << 20);
    assertThat(found.fileLength()).isEqualTo(Files.size(file));
    assertThat(found.clusterSize()).isEqualTo(65536);
    assertThat(found.backingFile()).isEqualTo("/proc/self/mem");
    assertThat(found.backingFormat()).isEqualTo("raw");
    assertThat(found.dataFile()).isNull();
    assertThat(found.qcow2()).isNotNull();
  }

  @Test
  void inspectionNamesADataFileThatIsGone() throws Exception {
    Path file = folder.resolve("a.qcow2");
    Path data = folder.resolve("data");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "data_file=" + data, file, 1 << 20);
    Files.delete(data);

    assertThat(Images.inspect(file).dataFile()).isEqualTo(data.toString());
  }

  @Test
  void anythingElseIsRaw() throws Exception {
    Path file = Files.write(folder.resolve("a"), new byte[1000]);

    Inspection found = Images.inspect(file);

    assertThat(found.format()).isEqualTo("raw");
    assertThat(found.matching()).containsExactly("raw");
    assertThat(found.virtualSize()).isEqualTo(1024);
    assertThat(found.fileLength()).isEqualTo(1000);
    assertThat(
            Images.inspect(Files.createFile(folder.resolve("empty")), "raw", false).virtualSize())
        .isZero();
  }

  @Test
  void anImageThatSaysRawIsNotLookedInto() throws Exception {
    Path file = folder.resolve("a.qcow2");
    Images.create(file, CreateOptions.of("qcow2", 1 << 20));

    assertThat(Images.inspect(file, "raw", false).virtualSize())
        .isEqualTo((Files.size(file) + 511) / 512 * 512);
    try (Image image = Images.open(file, OpenOptions.of(References.deny()).format("raw"))) {
      assertThat(image.format()).isEqualTo("raw");
    }
  }

  @Test
  void aWrongFormatIsRefused() throws Exception {
    Path file = Files.write(folder.resolve("a"), new byte[1000]);
    OpenOptions options = OpenOptions.of(References.deny());

    assertThatThrownBy(() -> Images.open(file, options.format("qcow2")))
        .isInstanceOf(ImageFormatException.class);
    assertThatThrownBy(() -> Images.open(file, options.format("vmdk")))
        .isInstanceOf(UnknownFormatException.class);
    assertThatThrownBy(() -> Images.inspect(file, "vmdk", false))
        .isInstanceOf(UnknownFormatException.class);
    assertThatThrownBy(() -> Images.openReadOnly(folder.resolve("none"), References.deny()))
        .isInstanceOf(NoSuchFileException.class);
    assertThatThrownBy(() -> Images.openReadOnly(folder, References.deny()))
        .isInstanceOf(StorageIoException.class);
  }

  @Test
  void aGuestCannotTurnAProbedRawDiskIntoAnotherFormat() throws Exception {
    Path file = Files.write(folder.resolve("a"), new byte[4096]);
    OpenOptions writable = OpenOptions.of(References.deny()).writable(true);
    ByteBuffer magic = ByteBuffer.allocate(8).putInt(0x514649fb).putInt(3).flip();

    try (Image image = Images.open(file, writable)) {
      assertThatThrownBy(() -> image.write(magic.duplicate(), 0))
          .isInstanceOf(AccessDeniedException.class);
      image.write(magic.duplicate(), 512);
    }
    try (Image image = Images.open(file, writable.format("raw"))) {
      image.write(magic.duplicate(), 0);
    }
    try (var storage = FileStorage.open(file, FileStorage.Options.readOnly())) {
      assertThat(Images.probe(storage)).isEqualTo("qcow2");
    }
  }

  @Test
  void aStorageIsClosedWithItsImageAndWhenOpeningFails() throws Exception {
    var storage = new MemoryStorage("m");
    storage.resize(1 << 20, Preallocation.OFF);
    try (Image image = Images.open(storage, OpenOptions.of(References.deny()))) {
      assertThat(image.size()).isEqualTo(1 << 20);
    }

    var faulty = new dev.imago.testing.FaultyStorage(new MemoryStorage("f"));
    assertThatThrownBy(() -> Images.open(faulty, OpenOptions.of(References.deny()).format("qcow2")))
        .isInstanceOf(ImageFormatException.class);
    assertThat(faulty.calls(dev.imago.testing.StorageCall.CLOSE)).isPositive();
  }

  @Test
  void rawImagesCannotBeChecked() throws Exception {
    Path file = Files.write(folder.resolve("a"), new byte[4096]);

    assertThatThrownBy(() -> Images.check(file, null, false, Progress.NONE))
        .isInstanceOf(CheckUnsupportedException.class)
        .hasMessage(file + ": images of format raw cannot be checked");
  }

  @Test
  void aChainIsListedWithTheNamesOnTheWay() throws Exception {
    Files.createDirectory(folder.resolve("sub"));
    Files.write(folder.resolve("base.raw"), new byte[1 << 20]);
    Path mid = folder.resolve("sub/mid.qcow2");
    Path top = folder.resolve("top.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-b", "../base.raw", "-F", "raw", mid);
    Qemu.img("create", "-q", "-f", "qcow2", "-b", "sub/mid.qcow2", "-F", "qcow2", top);

    List<Inspection> chain = Images.backingChain(top, null, false, References.under(folder));

    assertThat(chain).extracting(Inspection::format).containsExactly("qcow2", "qcow2", "raw");
    assertThat(chain)
        .extracting(Inspection::name)
        .containsExactly(top.toString(), mid.toString(), folder + "/sub/../base.raw");
    assertThatThrownBy(() -> Images.backingChain(top, null, false, References.sameFolder()))
        .isInstanceOf(ReferenceDeniedException.class);
  }

  @Test
  void aChainWithoutEndIsNotListed() throws Exception {
    Path a = folder.resolve("a.qcow2");
    Path b = folder.resolve("b.qcow2");
    Qemu.img("create", "-q", "-u", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", a, 4096);
    Qemu.img("create", "-q", "-u", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", b, 4096);

    assertThatThrownBy(() -> Images.backingChain(a, null, false, References.anywhere()))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessage(
            "%s: backing file name: 'a.qcow2' creates an infinite loop: it is %s".formatted(b, a));
  }

  @ParameterizedTest
  @ValueSource(strings = {"dir/top.qcow2", "top.qcow2", "/x/top.qcow2"})
  void namesAreRelativeToTheImagesFolder(String image) {
    Path top = Path.of(image);
    String folder = image.substring(0, image.length() - "top.qcow2".length());

    assertThat(Images.resolveName(top, "b")).isEqualTo(Path.of(folder + "b"));
    assertThat(Images.resolveName(top, "../b")).isEqualTo(Path.of(folder + "../b"));
    assertThat(Images.resolveName(top, "file:b")).isEqualTo(Path.of(folder + "b"));
    assertThat(Images.resolveName(top, "/abs/b")).isEqualTo(Path.of("/abs/b"));
  }
}
