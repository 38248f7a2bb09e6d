package dev.imago.qcow2.ondisk;

import static dev.imago.qcow2.ondisk.Hex.HEADER;
import static dev.imago.qcow2.ondisk.Hex.bytes;
import static dev.imago.qcow2.ondisk.Hex.header;
import static dev.imago.qcow2.ondisk.Hex.hex;
import static dev.imago.qcow2.ondisk.Hex.plain;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.ImageFormatException;
import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HeaderClusterTest {
  /** The digest's section 17 F without the feature table: an overlay on "base.qc". */
  private static final String OVERLAY =
      plain(HEADER).replaceFirst("^(.{16}).{24}", "$1" + "0000000000000088" + "00000007")
          + plain("e2792aca 00000005 7163 6f77 32 000000")
          + "0000000000000000"
          + "626173652e7163";

  @Test
  void anOverlayNamesItsBackingFileAndFormat() throws Exception {
    HeaderCluster c = parse(OVERLAY);

    assertThat(c.backingName()).contains("base.qc");
    assertThat(c.backingFormat()).contains("qcow2");
    assertThat(c.dataFileName()).isEmpty();
    assertThat(hex(c.write())).isEqualTo(OVERLAY);
  }

  @Test
  void version2HasExtensionsToo() throws Exception {
    String v2 =
        plain("514649fb 00000002 0000000000000060 00000003 00000010 0000000000100000")
            + plain("00000000 00000001 0000000000030000 0000000000010000 00000001 00000000")
            + "0000000000000000"
            + plain("e2792aca 00000005 7163 6f77 32 000000 0000000000000000 616263");

    HeaderCluster c = parse(v2);

    assertThat(c.backingName()).contains("abc");
    assertThat(c.backingFormat()).contains("qcow2");
    assertThat(hex(c.write())).isEqualTo(v2);
  }

  @Test
  void theFeatureTableThatWeWriteIsQemus() throws Exception {
    String table = hex(table().write());

    assertThat(table)
        .startsWith(plain(HEADER) + "6803f85700000180" + "0000" + "646972747920626974");
    HeaderCluster c = parse(table);
    assertThat(c.featureNames()).isEqualTo(FeatureName.KNOWN);
    assertThat(c.featureNames()).extracting(FeatureName::name).contains("extended L2 entries");
  }

  private static HeaderCluster table() throws Exception {
    return parse(HEADER).with(FeatureName.table(FeatureName.KNOWN));
  }

  @Test
  void unknownExtensionsAreKeptBehindTheKnownOnes() throws Exception {
    String unknown = "12345678" + "00000003" + "aabbcc0000000000";
    String name = "44415441" + "00000001" + "6400000000000000";
    String end = "0000000000000000";

    HeaderCluster c = parse(plain(HEADER) + unknown + name + end);

    assertThat(hex(c.write())).isEqualTo(plain(HEADER) + name + unknown + end);
  }

  @Test
  void whatComesBehindTheEndMarkerIsNoExtension() throws Exception {
    HeaderCluster c = parse(plain(HEADER) + "0000000000000000" + "44415441" + "ffffffff");

    assertThat(c.extensions()).isEmpty();
  }

  @Test
  void theEndOfTheAreaEndsTheList() throws Exception {
    String overlay = OVERLAY.substring(0, 0x80 * 2) + "626173652e7163";
    HeaderCluster c = parse(overlay.replaceFirst("0000000000000088", "0000000000000080"));

    assertThat(c.backingFormat()).contains("qcow2");
    assertThat(c.backingName()).contains("base.qc");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "12345678 7fffffff|a: header extension 0x12345678 at host offset 0x70: 2147483647 bytes, but the area of extensions ends 0 bytes from there",
        "12345678 ffffffff 00|a: header extension 0x12345678 at host offset 0x70: 4294967295 bytes, but the area of extensions ends 1 bytes from there",
        "e2792aca 00000010 30313233343536373839303132333435|a: backing format name at host offset 0x70: 16 bytes; at most 15",
        "e2792aca 00000000 e2792aca 00000000|a: header extension 0xe2792aca at host offset 0x78: it is there a second time",
        "0537be77 00000010 0000000000040000 0000000000001000|a: LUKS header extension at host offset 0x78: expected with crypt_method 2 only, which is 0"
      })
  void aBadExtensionIsNamedWithItsPlace(String extension, String message) {
    assertThatThrownBy(() -> parse(plain(HEADER) + plain(extension)))
        .isInstanceOf(ImageFormatException.class)
        .hasMessage(message);
  }

  @Test
  void aBackingNameIsNotReadFromBehindTheEndOfTheFile() {
    assertThatThrownBy(() -> parse(OVERLAY.substring(0, OVERLAY.length() - 2)))
        .hasMessage("a: backing file name at host offset 0x88: the file ends at 0x8e, in it");
  }

  @Test
  void aNameEndsWhereQemuEndsIt() throws Exception {
    assertThat(parse(OVERLAY.replace("626173652e7163", "62610065007163")).backingName())
        .contains("ba");
  }

  @Test
  void aBackingFileWithoutANameIsNone() throws Exception {
    assertThat(parse(OVERLAY.replace("00000007", "00000000")).backingName()).isEmpty();
  }

  @Test
  void luksNeedsAPointerToItsHeader() throws Exception {
    String luks = hex(header(32, "00000002"));
    assertThatThrownBy(() -> parse(luks))
        .isInstanceOf(ImageFormatException.class)
        .hasMessageContaining(
            "crypt_method at host offset 0x20: 2 (LUKS), but the header extension");

    String pointer = "0537be77" + "00000010" + "0000000000040000" + "00000000001f9000";
    assertThat(parse(luks + pointer).luks()).contains(new LuksPointer(0x40000, 0x1f9000));
    for (String bad : List.of("0000000000040200", "0000000000000000", "8000000000000000")) {
      assertThatThrownBy(() -> parse(luks + pointer.replace("0000000000040000", bad)))
          .hasMessageContaining("LUKS header offset at host offset 0x78: 0x");
    }
  }

  @Test
  void bitmapsMeanSomethingOnlyUnderTheirAutoclearBit() throws Exception {
    String extension =
        "23852875" + "00000018" + "00000001" + "00000000" + "0000000000000020" + "00000000000b0000";
    String clear = plain(HEADER) + extension;
    String set = hex(header(88, "0000000000000001")) + extension;

    assertThat(parse(clear).bitmaps()).isEmpty();
    assertThat(parse(set).bitmaps()).contains(new BitmapsExtension(1, 0x20, 0xb0000));
    assertThat(parse(hex(header(88, "0000000000000001"))).bitmaps()).isEmpty();
    assertThat(hex(parse(set).write())).isEqualTo(set + "0000000000000000");
    for (String[] bad :
        new String[][] {
          {"0000000100000000", "0000000000000000", "nb_bitmaps at host offset 0x78: 0; 1 to 65535"},
          {"0000000100000000", "0001000000000000", "nb_bitmaps at host offset 0x78: 65536"},
          {"0000000100000000", "0000000100000001", "0x7c: the reserved field is not 0"},
          {"0000000000000020", "0000000004000000", "bitmap_directory_size at host offset 0x80"},
          {"0000000000000020", "ffffffffffffffff", "18446744073709551615 bytes"},
          {"00000000000b0000", "00000000000b0100", "bitmap_directory_offset at host offset 0x88"},
          {
            "0000001800000001",
            "0000001000000001",
            "bitmaps extension at host offset 0x78: 16 bytes"
          }
        }) {
      String wrong = extension.replace(bad[0], bad[1]);
      assertThatThrownBy(() -> parse(set.replace(extension, wrong)))
          .isInstanceOf(ImageFormatException.class)
          .hasMessageContaining(bad[2]);
    }
  }

  @Test
  void whatDoesNotFitIntoClusterZeroIsNotWritten() throws Exception {
    HeaderCluster small =
        HeaderCluster.parse(header(20, "00000009 0000000000000200"), "a")
            .withBackingName("x".repeat(392));
    assertThat(small.write().remaining()).isEqualTo(512);

    assertThatThrownBy(() -> small.withBackingName("x".repeat(393)).write())
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("No space left in the file header");
    assertThatThrownBy(() -> parse(HEADER).withBackingName("x".repeat(1024)).write())
        .hasMessage("Backing file name too long");
  }

  @Test
  void anotherNameMovesWhereTheHeaderSaysItIs() throws Exception {
    HeaderCluster c = parse(hex(parse(OVERLAY).withBackingName("/a/longer/name").write()));
    assertThat(c.backingName()).contains("/a/longer/name");

    HeaderCluster none =
        parse(hex(c.withBackingName("").without(HeaderExtension.BACKING_FORMAT).write()));
    assertThat(none.backingName()).isEmpty();
    assertThat(none.header().backingFileOffset()).isZero();
    assertThat(hex(none.write())).isEqualTo(plain(HEADER) + "0000000000000000");
  }

  @Test
  void theClusterSizeIsKnownFromTheFirstSector() throws Exception {
    assertThat(HeaderCluster.clusterSize(bytes(HEADER), "a")).isEqualTo(65536);
    assertThatThrownBy(() -> HeaderCluster.clusterSize(ByteBuffer.allocate(512), "a"))
        .hasMessageContaining("magic");
  }

  private static HeaderCluster parse(String hex) throws Exception {
    return HeaderCluster.parse(bytes(hex), "a");
  }
}
