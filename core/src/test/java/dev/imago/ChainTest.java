package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.References;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.storage.StorageLockedException;
import dev.imago.testing.OpenFiles;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Chains of images: loops, length, who closes what. */
class ChainTest {
  @TempDir Path folder;

  @AfterEach
  void nothingIsLeftOpen() throws IOException {
    assertThat(OpenFiles.below(folder)).isEmpty();
  }

  @Test
  void anImageThatIsItsOwnBackingFileIsALoop() throws Exception {
    overlay("self.qcow2", "self.qcow2");

    assertLoop("self.qcow2", "'self.qcow2' creates an infinite loop: it is", false);
    assertLoop("self.qcow2", "'self.qcow2' creates an infinite loop: it is", true);
  }

  @Test
  void aLoopOfSeveralImagesIsFound() throws Exception {
    overlay("a.qcow2", "b.qcow2");
    overlay("b.qcow2", "c.qcow2");
    overlay("c.qcow2", "./a.qcow2");

    assertLoop(
        "a.qcow2", "c.qcow2: backing file name: './a.qcow2' creates an infinite loop", false);
    assertLoop("a.qcow2", "c.qcow2: backing file name: './a.qcow2' creates an infinite loop", true);
  }

  @Test
  void aLoopThroughALinkOrASecondNameIsFound() throws Exception {
    overlay("soft.qcow2", "other");
    Files.createSymbolicLink(folder.resolve("other"), Path.of("soft.qcow2"));
    assertLoop("soft.qcow2", "creates an infinite loop", false);

    overlay("hard.qcow2", "another");
    Files.createLink(folder.resolve("another"), folder.resolve("hard.qcow2"));
    assertLoop("hard.qcow2", "creates an infinite loop", true);
  }

  @Test
  void anImageThatIsItsOwnDataFileIsALoop() throws Exception {
    Path top = folder.resolve("top.qcow2");
    Path data = folder.resolve("data.raw");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "data_file=" + data, top, 1 << 20);
    Files.delete(data);
    Files.createLink(data, top);

    assertLoop("top.qcow2", "data file name: ", true);
  }

  @Test
  void aChainOfTheGreatestLengthOpensAndOneImageMoreDoesNot() throws Exception {
    Qemu.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", folder.resolve("0"), 4096);
    Qemu.io(folder.resolve("0"), List.of("write -P 7 0 4k"));
    byte[] link = null;
    for (int i = 1; i <= References.MAX_DEPTH; i++) {
      // Each names "000" at first; the digits are put there.
      if (link == null) {
        overlay("1", "000");
        link = Files.readAllBytes(folder.resolve("1"));
      }
      Files.write(folder.resolve("" + i), named(link, i - 1));
    }
    Files.move(folder.resolve("0"), folder.resolve("000"));
    for (int i = 1; i <= References.MAX_DEPTH; i++) {
      Files.move(folder.resolve("" + i), folder.resolve("%03d".formatted(i)));
    }

    try (Image image = Images.openReadOnly(folder.resolve("199"), References.sameFolder())) {
      assertThat(first(image)).isEqualTo((byte) 7);
    }
    assertThatThrownBy(() -> Images.openReadOnly(folder.resolve("200"), References.sameFolder()))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessage(
            "%s: backing file name: '000' would be image 201 of the chain, 200 are allowed",
            folder.resolve("001"));
  }

  private static byte[] named(byte[] image, int number) {
    byte[] copy = image.clone();
    byte[] digits = "%03d".formatted(number).getBytes();
    int at = (int) ByteBuffer.wrap(copy).getLong(8);
    System.arraycopy(digits, 0, copy, at, 3);
    return copy;
  }

  @Test
  void closingAnImageClosesAllBelowIt() throws Exception {
    base("base.qcow2");
    overlay("mid.qcow2", "base.qcow2");
    overlay("top.qcow2", "mid.qcow2");

    Image image = Images.openReadOnly(folder.resolve("top.qcow2"), References.sameFolder());
    assertThat(image.backing().orElseThrow().backing().orElseThrow().name())
        .isEqualTo(folder.resolve("base.qcow2").toString());
    assertThat(OpenFiles.below(folder)).isNotEmpty();
    image.close();

    assertThat(OpenFiles.below(folder)).isEmpty();
  }

  @Test
  void twoImagesShareABackingFileAndOneOutlivesTheOther() throws Exception {
    base("base.qcow2");
    overlay("a.qcow2", "base.qcow2");
    overlay("b.qcow2", "base.qcow2");
    OpenOptions writable = OpenOptions.of(References.sameFolder()).writable(true);

    Image a = Images.open(folder.resolve("a.qcow2"), writable);
    try (Image b = Images.open(folder.resolve("b.qcow2"), writable)) {
      a.close();
      assertThat(first(b)).isEqualTo((byte) 7);
      assertThatThrownBy(() -> Images.open(folder.resolve("base.qcow2"), writable))
          .isInstanceOf(StorageLockedException.class);
    }
    Images.open(folder.resolve("base.qcow2"), writable).close();
  }

  @Test
  void aBackingFileThatSomeoneWritesIsLockedUnlessForced() throws Exception {
    base("base.qcow2");
    overlay("top.qcow2", "base.qcow2");
    Path top = folder.resolve("top.qcow2");
    OpenOptions readOnly = OpenOptions.of(References.sameFolder());

    try (Image base = Images.open(folder.resolve("base.qcow2"), readOnly.writable(true))) {
      assertThat(base.readOnly()).isFalse();
      assertThatThrownBy(() -> Images.open(top, readOnly))
          .isInstanceOf(ReferenceFailedException.class)
          .hasCauseInstanceOf(StorageLockedException.class);
      Images.open(top, readOnly.forceShare(true)).close();
    }
  }

  @Test
  void aGivenBackingImageIsUsedInsteadAndClosedWithTheTop() throws Exception {
    overlay("top.qcow2", "missing.qcow2");
    Image given = memory('m');

    OpenOptions options = OpenOptions.of(References.deny()).backing(given);
    try (Image image = Images.open(folder.resolve("top.qcow2"), options)) {
      assertThat(first(image)).isEqualTo((byte) 'm');
    }

    assertThatThrownBy(() -> first(given)).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void aGivenBackingImageThatNobodyAsksForIsAMistakeAndClosed() throws Exception {
    base("base.qcow2");
    Image given = memory('m');
    OpenOptions options = OpenOptions.of(References.deny()).backing(given);

    assertThatThrownBy(() -> Images.open(folder.resolve("base.qcow2"), options))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("names no backing or data file");
    assertThatThrownBy(() -> first(given)).isInstanceOf(IllegalStateException.class);
  }

  private static Image memory(char value) throws IOException {
    var storage = new MemoryStorage("memory");
    storage.resize(1 << 20, Preallocation.OFF);
    storage.write(ByteBuffer.wrap(new byte[] {(byte) value}), 0);
    return Images.open(storage, OpenOptions.of(References.deny()).format("raw"));
  }

  private void base(String name) throws Exception {
    Qemu.img("create", "-q", "-f", "qcow2", folder.resolve(name), 1 << 20);
    Qemu.io(folder.resolve(name), List.of("write -P 7 0 1M"));
  }

  private void overlay(String name, String backing) throws Exception {
    Path top = folder.resolve(name);
    Qemu.img("create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", top, 1 << 20);
  }

  private void assertLoop(String name, String message, boolean writable) {
    OpenOptions options = OpenOptions.of(References.sameFolder()).writable(writable);
    assertThatThrownBy(() -> Images.open(folder.resolve(name), options))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessageContaining(message);
  }

  private static byte first(Image image) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(1);
    image.read(bytes, 0);
    return bytes.get(0);
  }
}
