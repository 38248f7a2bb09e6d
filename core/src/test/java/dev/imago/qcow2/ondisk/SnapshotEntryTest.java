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

class SnapshotEntryTest {
  /** The digest's section 17 C. */
  private static final String FIRST =
      plain("0000000000070000 00000001 0001 0005 6b02f8f7 06fb3758 0000000000000000")
          + plain("00000000 00000018 0000000000000000 0000000000100000 0000000000000000")
          + plain("31 6669727374 0000");

  private static final Geometry G = new Geometry(16, 4, 3, false);

  @Test
  void qemusEntryIsReadAndWrittenBack() throws Exception {
    SnapshotEntry e = parse(FIRST);

    assertThat(e.l1TableOffset()).isEqualTo(0x70000);
    assertThat(e.l1Size()).isEqualTo(1);
    assertThat(e.seconds()).isEqualTo(0x6b02f8f7L);
    assertThat(e.nanoseconds()).isEqualTo(0x06fb3758L);
    assertThat(e.id()).isEqualTo("1");
    assertThat(e.name()).isEqualTo("first");
    assertThat(e.vmStateSize()).isZero();
    assertThat(e.diskSize(5)).isEqualTo(1 << 20);
    assertThat(e.instructionCount()).isZero();
    assertThat(e.incomplete(3)).isFalse();
    assertThat(written(e)).isEqualTo(FIRST);
    e.requireL1(0x80000, G, "a");
  }

  @Test
  void theEntryBehindItBeginsAtAMultipleOfEight() throws Exception {
    ByteBuffer in = bytes(FIRST + FIRST.replace("3166", "3266"));

    SnapshotEntry.parse(in, 0, "a");
    assertThat(in.position()).isEqualTo(72);
    assertThat(SnapshotEntry.parse(in, 72, "a").id()).isEqualTo("2");
  }

  @Test
  void version2EntriesHaveNoExtraData() throws Exception {
    SnapshotEntry e =
        parse(
            plain("0000000000070000 00000001 0001 0000 00000001 00000002 0000000000000003")
                + plain("fffffffe 00000000 31 00000000000000"));

    assertThat(e.vmStateSize()).isEqualTo(0xfffffffeL);
    assertThat(e.diskSize(7)).isEqualTo(7);
    assertThat(e.instructionCount()).isEqualTo(-1);
    assertThat(e.incomplete(2)).isFalse();
    assertThat(e.incomplete(3)).isTrue();
  }

  @Test
  void unknownExtraDataIsKept() throws Exception {
    String longer =
        FIRST.substring(0, 72)
            + "00000020"
            + FIRST.substring(80, 128)
            + "a1a2a3a4a5a6a7a8"
            + FIRST.substring(128);

    assertThat(parse(longer).extra().size()).isEqualTo(32);
    assertThat(written(parse(longer))).isEqualTo(longer);
  }

  @Test
  void tooMuchExtraDataAndCutOffEntriesAreRefused() {
    ByteBuffer much = bytes(FIRST).putInt(36, 1025);
    assertThatThrownBy(() -> SnapshotEntry.parse(much, 0x80000, "a"))
        .isInstanceOf(ImageFormatException.class)
        .hasMessage("a: snapshot extra data size at host offset 0x80024: 1025; at most 1024");
    assertThat(much.position()).isZero();
    for (int length = 0; length < 70; length++) {
      ByteBuffer cut = bytes(FIRST).limit(length);
      assertThatThrownBy(() -> SnapshotEntry.parse(cut, 0, "a"))
          .isInstanceOf(ImageFormatException.class);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "0000000000070200, 00000001, snapshot l1_table_offset at host offset 0x80000: 0x70200;",
    "0000000000000000, 00000001, snapshot l1_table_offset at host offset 0x80000: 0x0;",
    "ffffffffffff0000, 00000001, snapshot l1_table_offset at host offset 0x80000: 0xff",
    "00fffffffff00000, 00400000, snapshot l1_table_offset at host offset 0x80000: 0xff",
    "0000000000070000, 00400001, snapshot l1_size at host offset 0x80008: 4194305 entries"
  })
  void anL1TableIsJudgedBeforeItIsFollowed(String offset, String entries, String message)
      throws Exception {
    SnapshotEntry e = parse(offset + entries + FIRST.substring(24));

    assertThatThrownBy(() -> e.requireL1(0x80000, G, "a"))
        .isInstanceOf(ImageFormatException.class)
        .hasMessageContaining(message);
  }

  @Test
  void newExtraDataIsWhatQemuWrites() {
    assertThat(SnapshotEntry.newExtra(1, 2, -1).toString())
        .isEqualTo("0000000000000001" + "0000000000000002" + "ffffffffffffffff");
  }

  private static SnapshotEntry parse(String hex) throws Exception {
    return SnapshotEntry.parse(bytes(hex), 0x80000, "a");
  }

  private static String written(SnapshotEntry e) {
    ByteBuffer out = ByteBuffer.allocate(e.length());
    e.write(out);
    return hex(out.flip());
  }
}
