package dev.imago.qcow2.ondisk;

import static dev.imago.qcow2.ondisk.Hex.bytes;
import static dev.imago.qcow2.ondisk.Hex.hex;
import static dev.imago.qcow2.ondisk.Hex.plain;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.ImageFormatException;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BitmapDirectoryEntryTest {
  /** The digest's section 17 G. */
  private static final String B0 =
      plain("00000000000a0000 00000001 00000002 01 10 0002 00000000 6230 000000000000");

  @Test
  void qemusEntryIsReadAndWrittenBack() throws Exception {
    BitmapDirectoryEntry e = parse(B0);

    assertThat(e.name()).isEqualTo("b0");
    assertThat(e.tableOffset()).isEqualTo(0xa0000);
    assertThat(e.tableSize()).isEqualTo(1);
    assertThat(e.flags()).isEqualTo(BitmapDirectoryEntry.AUTO);
    assertThat(e.type()).isEqualTo(BitmapDirectoryEntry.DIRTY_TRACKING);
    assertThat(e.granularityBits()).isEqualTo(16);
    ByteBuffer out = ByteBuffer.allocate(e.length());
    e.write(out);
    assertThat(hex(out.flip())).isEqualTo(B0);
  }

  @Test
  void unknownExtraDataIsKept() throws Exception {
    String extra =
        plain("00000000000a0000 00000001 00000006 01 10 0002 00000003 a1a2a3 6230 000000");
    BitmapDirectoryEntry e = parse(extra);

    assertThat(e.extra().toString()).isEqualTo("a1a2a3");
    ByteBuffer out = ByteBuffer.allocate(e.length());
    e.write(out);
    assertThat(hex(out.flip())).isEqualTo(extra);
  }

  @ParameterizedTest
  @CsvSource({
    "0, 00000000000a0200, bitmap_table_offset at host offset 0xb0000: 0xa0200;",
    "0, 0000000000000000, bitmap_table_offset at host offset 0xb0000: 0x0;",
    "0, 8000000000000000, bitmap_table_offset at host offset 0xb0000: 0x80",
    "8, 08000001, bitmap_table_size at host offset 0xb0008: 134217729 entries; at most 134217728",
    "17, 40, granularity_bits at host offset 0xb0011: 64; 0 to 63",
    "18, 0000, bitmap name_size at host offset 0xb0012: 0; 1 to 1023",
    "18, 0400, bitmap name_size at host offset 0xb0012: 1024; 1 to 1023",
    "18, 03ff, 'bitmap directory entry at host offset 0xb0000: 1047 bytes long, but only 32'",
    "20, ffffffff, 'bitmap directory entry at host offset 0xb0000: 4294967321 bytes long'"
  })
  void aBadFieldIsNamedWithItsPlace(int at, String value, String message) {
    String bad = B0.substring(0, at * 2) + value + B0.substring(at * 2 + value.length());

    assertThatThrownBy(() -> parse(bad))
        .isInstanceOf(ImageFormatException.class)
        .hasMessageContaining(message);
  }

  private static BitmapDirectoryEntry parse(String hex) throws Exception {
    return BitmapDirectoryEntry.parse(bytes(hex), 0xb0000, 65536, "a");
  }
}
