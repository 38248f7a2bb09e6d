package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.storage.MemoryStorage;
import org.junit.jupiter.api.Test;

class NbdExportTest {
  private static Image image(boolean writable) throws Exception {
    MemoryStorage storage = new MemoryStorage("disk");
    storage.resize(1 << 20, dev.imago.storage.Storage.Preallocation.OFF);
    return Images.open(storage, OpenOptions.of(References.deny()).format("raw").writable(writable));
  }

  @Test
  void wholeImageIsServedAsItIs() throws Exception {
    NbdExport export = NbdExport.of("disk", image(true));

    assertThat(export.offset()).isZero();
    assertThat(export.length()).isEqualTo(1 << 20);
    assertThat(export.readOnly()).isFalse();
    assertThat(export.description("text").description()).isEqualTo("text");
    assertThat(export.description()).isEmpty();
  }

  @Test
  void imageThatCannotBeWrittenIsNeverServedForWriting() throws Exception {
    assertThat(NbdExport.of("", image(false)).readOnly(false).readOnly()).isTrue();
  }

  @Test
  void windowMustLieWithinTheImage() throws Exception {
    NbdExport export = NbdExport.of("", image(true));

    assertThat(export.window(512, 1024).length()).isEqualTo(1024);
    assertThatThrownBy(() -> export.window(512, 1 << 20))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }

  @Test
  void nameThatNoClientCouldAskForIsRefused() throws Exception {
    Image image = image(true);

    assertThatThrownBy(() -> NbdExport.of("a\0b", image))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("export name must be at most 4096 bytes long and have no NUL");
    assertThatThrownBy(() -> NbdExport.of("ä".repeat(2049), image))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
