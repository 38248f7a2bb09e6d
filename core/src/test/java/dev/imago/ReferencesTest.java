package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.imago.image.Image;
import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.References;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.storage.StorageIoException;
import dev.imago.testing.OpenFiles;
import dev.imago.testing.Qemu;
import dev.imago.testing.Tool;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which files an image's own words may have opened. */
class ReferencesTest {
  private static final int SIZE = 1 << 20;

  @TempDir Path temp;
  private Path inside;
  private Path outside;

  @BeforeEach
  void makeFolders() throws IOException {
    inside = Files.createDirectory(temp.resolve("inside"));
    outside = Files.createDirectory(temp.resolve("outside"));
  }

  @AfterEach
  void nothingIsLeftOpen() throws IOException {
    assertThat(OpenFiles.below(temp)).isEmpty();
  }

  @Test
  void aFileOfTheSameFolderIsOpenedUnderSameFolder() throws Exception {
    Files.write(inside.resolve("base.raw"), filled('b'));
    Path top = overlay(inside.resolve("top.qcow2"), "base.raw", "raw");

    assertReads('b', top, References.sameFolder());
    assertReads('b', top, References.under(temp));
    assertReads('b', top, References.under(outside, inside));
    assertReads('b', top, References.anywhere());
  }

  @Test
  void nothingIsOpenedUnderDeny() throws Exception {
    Files.write(inside.resolve("base.raw"), filled('b'));
    Path top = overlay(inside.resolve("top.qcow2"), "base.raw", "raw");

    assertThatThrownBy(() -> Images.openReadOnly(top, References.deny()))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessage(
            "%s: backing file name: '%s' is not opened: no references are allowed"
                .formatted(top, inside.resolve("base.raw")));
  }

  @Test
  void whatIsNeverLookedAtNeedsNoReferences() throws Exception {
    Path top = overlay(inside.resolve("top.qcow2"), "missing.raw", "raw");

    try (Image image = Images.open(top, OpenOptions.of(References.deny()).withoutBacking())) {
      assertThat(image.backing()).isEmpty();
      assertThat(first(image)).isZero();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"absolute", "dots", "link", "linked folder"})
  void noWayLeadsOutOfTheFolder(String way) throws Exception {
    Path secret = Files.write(outside.resolve("secret.raw"), filled('s'));
    String name =
        switch (way) {
          case "absolute" -> secret.toString();
          case "dots" -> "../outside/secret.raw";
          case "link" -> {
            Files.createSymbolicLink(inside.resolve("link.raw"), secret);
            yield "link.raw";
          }
          default -> {
            Files.createSymbolicLink(inside.resolve("folder"), outside);
            yield "folder/secret.raw";
          }
        };
    Path top = overlay(inside.resolve("top.qcow2"), name, "raw");

    assertThatThrownBy(() -> Images.openReadOnly(top, References.sameFolder()))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessageContaining("is %s, which is not in the folder %s", secret, inside);
    assertThatThrownBy(() -> Images.openReadOnly(top, References.under(inside)))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessageContaining("is %s, which is not below one of [%s]", secret, inside);
    assertReads('s', top, References.under(inside, outside));
    assertReads('s', top, References.anywhere());
  }

  @Test
  void aFileFurtherDownIsNotInTheFolderButBelowIt() throws Exception {
    Files.createDirectory(inside.resolve("deep"));
    Files.write(inside.resolve("deep/base.raw"), filled('d'));
    Path top = overlay(inside.resolve("top.qcow2"), "deep/base.raw", "raw");

    assertThatThrownBy(() -> Images.openReadOnly(top, References.sameFolder()))
        .isInstanceOf(ReferenceDeniedException.class);
    assertReads('d', top, References.under(inside));
  }

  @Test
  void aFileThatIsMissingOutsideIsNotToldApartFromOneThatIsThere() throws Exception {
    Path top = overlay(inside.resolve("top.qcow2"), "../outside/maybe.raw", "raw");

    assertThatThrownBy(() -> Images.openReadOnly(top, References.sameFolder()))
        .isInstanceOf(ReferenceDeniedException.class);
  }

  @Test
  void aMissingFileIsNamedWithTheImageThatNamesIt() throws Exception {
    Path top = overlay(inside.resolve("top.qcow2"), "missing.raw", "raw");

    assertThatThrownBy(() -> Images.openReadOnly(top, References.sameFolder()))
        .isInstanceOfSatisfying(
            ReferenceFailedException.class,
            e -> {
              assertThat(e.image()).isEqualTo(top.toString());
              assertThat(e.reference()).isEqualTo(inside.resolve("missing.raw").toString());
              assertThat(e.dataFile()).isFalse();
            })
        .hasCauseInstanceOf(NoSuchFileException.class);
  }

  @ParameterizedTest
  @ValueSource(strings = {"/proc/self/environ", "/proc/self/mem", "/sys/kernel/mm/hugepages"})
  void whatTheKernelShowsIsNeverOpened(String name) throws Exception {
    Path top = overlay(inside.resolve("top.qcow2"), name, "raw");

    for (References references :
        new References[] {References.anywhere(), References.under(Path.of("/"))}) {
      assertThatThrownBy(() -> Images.openReadOnly(top, references))
          .isInstanceOf(ReferenceDeniedException.class)
          .hasMessageContaining("nothing below /");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"/dev/zero", "/dev/null", "fifo", "folder", "fifo behind a link"})
  void whatIsNoFileIsNeverOpenedNorWaitedFor(String name) throws Exception {
    Tool.run("mkfifo", inside.resolve("fifo")).ok();
    Files.createDirectory(inside.resolve("folder"));
    Files.createSymbolicLink(inside.resolve("fifo behind a link"), Path.of("fifo"));
    Path top = overlay(inside.resolve("top.qcow2"), name, "raw");

    assertThatThrownBy(() -> Images.openReadOnly(top, References.anywhere()))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessageContaining("neither a regular file nor an allowed block device");
  }

  @Test
  void theImageItselfMayNotBeAFifoEither() throws Exception {
    Tool.run("mkfifo", inside.resolve("fifo")).ok();

    assertThatThrownBy(() -> Images.openReadOnly(inside.resolve("fifo"), References.deny()))
        .isInstanceOf(StorageIoException.class);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "json:{\"driver\":\"file\"}",
        "nbd://localhost/x",
        "nbd:unix:/x",
        "http://a/b",
        "a:b"
      })
  void aProtocolIsNotFollowed(String name) throws Exception {
    Files.write(inside.resolve("a:b"), filled('x'));
    Path top = overlay(inside.resolve("top.qcow2"), name, "raw");

    assertThatThrownBy(() -> Images.openReadOnly(top, References.anywhere()))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessageContaining("is reached by the protocol '%s'", name.split(":", 2)[0]);
  }

  @ParameterizedTest
  @ValueSource(strings = {"./a:b", "file:a:b"})
  void aColonInAFileNameCanBeSaid(String name) throws Exception {
    Files.write(inside.resolve("a:b"), filled('x'));
    Path top = overlay(inside.resolve("top.qcow2"), name, "raw");

    assertReads('x', top, References.sameFolder());
  }

  @Test
  void aBackingFileWithoutAFormatMayNotTurnOutToBeRaw() throws Exception {
    Files.write(inside.resolve("base.raw"), filled('b'));
    Path top = overlay(inside.resolve("top.qcow2"), "base.raw", "raw");
    forgetBackingFormat(top);

    assertThatThrownBy(() -> Images.openReadOnly(top, References.sameFolder()))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessageContaining("the image does not say what 'base.raw' is");
    assertReads('b', top, References.anywhere());
  }

  @Test
  void aBackingFileWithoutAFormatMayBeFoundToBeQcow2() throws Exception {
    Qemu.img("create", "-q", "-f", "qcow2", inside.resolve("base.qcow2"), SIZE);
    Qemu.io(inside.resolve("base.qcow2"), java.util.List.of("write -P 98 0 1M"));
    Path top = overlay(inside.resolve("top.qcow2"), "base.qcow2", "qcow2");
    forgetBackingFormat(top);

    assertReads('b', top, References.sameFolder());
  }

  @Test
  void anUnknownBackingFormatIsNamed() throws Exception {
    Files.write(inside.resolve("base.raw"), filled('b'));
    Path top = overlay(inside.resolve("top.qcow2"), "base.raw", "raw");
    replace(top, "raw".getBytes(StandardCharsets.US_ASCII), "qed".getBytes(), 4096);

    assertThatThrownBy(() -> Images.openReadOnly(top, References.sameFolder()))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessage("%s: backing file format: there is no 'qed' here", top);
  }

  @Test
  void aDataFileIsOpenedUnderTheSameRules() throws Exception {
    Path top = inside.resolve("top.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "data_file=" + inside + "/data.raw", top, SIZE);
    Qemu.io(top, java.util.List.of("write -P 100 0 64k"));

    assertReads('d', top, References.sameFolder());
    assertThatThrownBy(() -> Images.openReadOnly(top, References.under(outside)))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessageContaining("data file name: ");
    try (Image image = Images.open(top, OpenOptions.of(References.deny()).withoutDataFile())) {
      assertThat(image.size()).isEqualTo(SIZE);
    }
  }

  @Test
  void aDataFilesNameIsNothingButAFileName() throws Exception {
    Path top = inside.resolve("top.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "data_file=" + inside + "/data12", top, SIZE);
    Qemu.io(top, java.util.List.of("write -P 100 0 64k"));
    String old = inside + "/data12";
    String name = "json:" + "x".repeat(old.length() - 5);
    Files.move(Path.of(old), inside.resolve(name));
    replace(top, old.getBytes(), name.getBytes(), 65536);

    assertReads('d', top, References.sameFolder());
  }

  @Test
  void aDataFileOfAReadOnlyImageIsNotOpenedForWriting() throws Exception {
    Path top = inside.resolve("top.qcow2");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "data_file=" + inside + "/data.raw", top, SIZE);

    try (Image image = Images.openReadOnly(top, References.sameFolder());
        Image same = Images.openReadOnly(top, References.sameFolder())) {
      assertThat(first(image)).isEqualTo(first(same));
    }
  }

  @Test
  void anExchangedLinkNeverGivesAwayWhatItLeadsTo() throws Exception {
    Path good = Files.createDirectory(inside.resolve("good"));
    Files.write(good.resolve("base.raw"), filled('g'));
    Files.write(outside.resolve("base.raw"), filled('s'));
    Path folder = inside.resolve("folder");
    Path top = overlay(inside.resolve("top.qcow2"), "folder/base.raw", "raw");
    Files.createSymbolicLink(folder, good);
    Thread attacker =
        Thread.ofPlatform()
            .start(
                () -> {
                  try {
                    for (int i = 0; !Thread.currentThread().isInterrupted(); i++) {
                      Path next = inside.resolve("next");
                      Files.createSymbolicLink(next, i % 2 == 0 ? outside : good);
                      Files.move(next, folder, java.nio.file.StandardCopyOption.ATOMIC_MOVE);
                    }
                  } catch (IOException e) {
                    throw new IllegalStateException(e);
                  }
                });
    try {
      for (int i = 0; i < 400; i++) {
        try (Image image = Images.openReadOnly(top, References.under(inside))) {
          assertThat(first(image)).isEqualTo((byte) 'g');
        } catch (ReferenceDeniedException e) {
          assertThat(e).hasMessageContaining("folder/base.raw");
        }
      }
    } finally {
      attacker.interrupt();
      attacker.join();
    }
  }

  @Test
  void anImageInNoFolderReachesNoRelativeName() throws Exception {
    Path top = overlay(inside.resolve("top.qcow2"), "base.raw", "raw");
    var storage = new dev.imago.storage.MemoryStorage("memory");
    storage.write(ByteBuffer.wrap(Files.readAllBytes(top)), 0);

    assertThatThrownBy(() -> Images.open(storage, OpenOptions.of(References.anywhere())))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessage(
            "memory: backing file name: 'base.raw' is relative, and the image is in no folder");
  }

  private static Path overlay(Path top, String backing, String format) throws Exception {
    Qemu.img("create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", format, top, SIZE);
    return top;
  }

  /** Makes the backing format's header extension one that nobody knows. */
  private static void forgetBackingFormat(Path image) throws IOException {
    replace(
        image,
        new byte[] {(byte) 0xe2, 0x79, 0x2a, (byte) 0xca},
        new byte[] {0x11, 0x22, 0x33, 0x44},
        4096);
  }

  private static void replace(Path file, byte[] old, byte[] by, int within) throws IOException {
    byte[] bytes = Files.readAllBytes(file);
    for (int at = 0; at < within; at++) {
      if (java.util.Arrays.equals(bytes, at, at + old.length, old, 0, old.length)) {
        System.arraycopy(by, 0, bytes, at, by.length);
        Files.write(file, bytes);
        return;
      }
    }
    throw new AssertionError("not found");
  }

  private static byte[] filled(char value) {
    byte[] bytes = new byte[SIZE];
    java.util.Arrays.fill(bytes, (byte) value);
    return bytes;
  }

  private static void assertReads(char value, Path top, References references) throws IOException {
    Throwable problem =
        catchThrowable(
            () -> {
              try (Image image = Images.openReadOnly(top, references)) {
                assertThat(first(image)).isEqualTo((byte) value);
              }
            });
    assertThat(problem).as(references.toString()).isNull();
  }

  private static byte first(Image image) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(1);
    image.read(bytes, 0);
    return bytes.get(0);
  }
}
