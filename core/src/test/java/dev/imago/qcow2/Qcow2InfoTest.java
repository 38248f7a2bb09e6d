package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.ImageFormatException;
import dev.imago.image.Snapshot;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import dev.imago.testing.Qemu;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class Qcow2InfoTest {
  @TempDir Path folder;

  @Test
  void qemusImagesSayWhatTheyAre() throws Exception {
    Path image =
        create("cluster_size=4096,refcount_bits=8,lazy_refcounts=on,compression_type=zstd");

    Qcow2Info info = info(image);

    assertThat(info.version()).isEqualTo(3);
    assertThat(info.size()).isEqualTo(4 << 20);
    assertThat(info.clusterSize()).isEqualTo(4096);
    assertThat(info.refcountBits()).isEqualTo(8);
    assertThat(info.lazyRefcounts()).isTrue();
    assertThat(info.compressionType()).isEqualTo("zstd");
    assertThat(info.extendedL2() || info.dirty() || info.corrupt()).isFalse();
    assertThat(info.encryption()).isNull();
    assertThat(info.backingFile()).isNull();
    assertThat(info.dataFile()).isNull();
    assertThat(info.snapshots()).isEmpty();
    assertThat(info.bitmaps()).isEmpty();
    assertThat(info(create("compat=v2")).version()).isEqualTo(2);
    assertThat(info(create("extended_l2=on")).extendedL2()).isTrue();
  }

  @Test
  void whatIsNamedIsNotOpened() throws Exception {
    Path overlay = folder.resolve("overlay");
    Qemu.img("create", "-q", "-f", "qcow2", "-u", "-b", "not/there", "-F", "vmdk", overlay, "1M");
    assertThat(info(overlay).backingFile()).isEqualTo("not/there");
    assertThat(info(overlay).backingFormat()).isEqualTo("vmdk");

    Path data = folder.resolve("data");
    Path image = create("data_file=" + data + ",data_file_raw=on");
    Files.delete(data);
    assertThat(info(image).dataFile()).isEqualTo(data.toString());
    assertThat(info(image).externalData()).isTrue();
    assertThat(info(image).dataFileRaw()).isTrue();
  }

  @Test
  void snapshotsAreListedAsInTheTable() throws Exception {
    Path image = create("compat=v3");
    Qemu.img("snapshot", "-c", "first", image);
    Qemu.img("resize", image, "8M");
    Qemu.img("snapshot", "-c", "näme", image);

    assertThat(info(image).snapshots()).extracting(Snapshot::id).containsExactly("1", "2");
    assertThat(info(image).snapshots()).extracting(Snapshot::name).containsExactly("first", "näme");
    assertThat(info(image).snapshots())
        .extracting(Snapshot::diskSize)
        .containsExactly(4L << 20, 8L << 20);
    assertThat(info(image).snapshots()).allMatch(s -> s.date().getEpochSecond() > 1_600_000_000);
    assertThat(info(image).snapshots()).allMatch(s -> s.vmStateSize() == 0 && s.vmClock() == 0);
  }

  @Test
  void bitmapsAreListedWhileTheirAutoclearBitIsSet() throws Exception {
    Path image = create("compat=v3");
    Qemu.img("bitmap", "--add", "-g", "4k", image, "b0");
    Qemu.img("bitmap", "--add", "--disable", image, "b1");

    assertThat(info(image).bitmaps())
        .containsExactly(
            new Qcow2Info.Bitmap("b0", 4096, false, true),
            new Qcow2Info.Bitmap("b1", 65536, false, false));
    poke(image, 88, "0000000000000000");
    assertThat(info(image).bitmaps()).isEmpty();
  }

  @Test
  void encryptedDirtyAndCorruptImagesSaySo() throws Exception {
    Path image = create("compat=v3");
    poke(image, 32, "00000001");
    assertThat(info(image).encryption()).isEqualTo("aes");
    poke(image, 72, "0000000000000003");
    assertThat(info(image).dirty() && info(image).corrupt()).isTrue();
    poke(image, 32, "00000002");
    poke(
        image,
        112,
        "0537be77" + "00000010" + "0000000000050000" + "0000000000001000" + "00".repeat(8));
    assertThatThrownBy(() -> info(image))
        .hasMessageContaining("LUKS header at host offset 0x50000: 0 bytes; it has 592");
  }

  @Test
  void luksWithoutItsExtensionIsAnErrorNotACrash() throws Exception {
    Path image = create("compat=v3");
    poke(image, 32, "00000002");

    assertThatThrownBy(() -> info(image))
        .isInstanceOf(ImageFormatException.class)
        .hasMessageContaining("crypt_method at host offset 0x20: 2 (LUKS), but");
  }

  @Test
  void theBitmapsBitWithoutItsExtensionIsNoHarm() throws Exception {
    Path image = create("compat=v3");
    poke(image, 88, "0000000000000001");

    assertThat(info(image).bitmaps()).isEmpty();
  }

  @Test
  void aDirectoryOfAnotherLengthThanTheHeaderSaysIsRefused() throws Exception {
    Path image = create("cluster_size=4096");
    Qemu.img("bitmap", "--add", image, "b0");
    long at = 112 + 8;
    poke(image, at + 8, "0000000000000028");

    assertThatThrownBy(() -> info(image))
        .isInstanceOf(ImageFormatException.class)
        .hasMessageContaining("bitmap directory at host offset")
        .hasMessageContaining("32 bytes of 1 bitmaps, but the header says 40");
  }

  private Path create(String options) throws Exception {
    Path image = folder.resolve("image");
    Qemu.img("create", "-q", "-f", "qcow2", "-o", options, image, "4M");
    return image;
  }

  private static Qcow2Info info(Path image) throws IOException {
    try (Storage storage = FileStorage.open(image, FileStorage.Options.readOnly())) {
      return Qcow2.info(storage);
    }
  }

  private static void poke(Path image, long at, String hex) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.seek(at);
      file.write(HexFormat.of().parseHex(hex));
    }
  }
}
