package dev.imago.nbd.wire;

import static dev.imago.nbd.wire.Hex.bytes;
import static dev.imago.nbd.wire.Hex.plain;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;

/** The messages of the handshake, as a session with qemu-nbd 7.2 had them. */
class HandshakeTest {
  @Test
  void greetingIsReadAndWritten() throws Exception {
    String hex = "4e42444d41474943 49484156454f5054 0003";

    Greeting greeting = Greeting.parse(bytes(hex));

    assertThat(greeting.flags()).isEqualTo(Greeting.FIXED_NEWSTYLE | Greeting.NO_ZEROES);
    assertThat(Hex.of(Greeting.BYTES, greeting::write)).isEqualTo(plain(hex));
  }

  @Test
  void greetingOfTheOldStyleIsRefused() {
    assertThatThrownBy(() -> Greeting.parse(bytes("4e42444d41474943 0000420281861253 0003")))
        .isInstanceOf(NbdProtocolException.class)
        .hasMessage(
            "greeting: second half: the magic number is 0x420281861253, not 0x49484156454f5054");
  }

  @Test
  void optionAndItsReplyAreReadAndWritten() throws Exception {
    String option = "49484156454F5054 00000003 00000000".toLowerCase();
    OptionHeader header = OptionHeader.parse(bytes(option));
    assertThat(header).isEqualTo(new OptionHeader(OptionType.LIST.code(), 0));
    assertThat(Hex.of(OptionHeader.BYTES, header::write)).isEqualTo(plain(option));

    String reply = "0003e889045565a9 00000003 80000006 00000019";
    OptionReplyHeader replied = OptionReplyHeader.parse(bytes(reply));
    assertThat(replied).isEqualTo(new OptionReplyHeader(3, OptionReplyType.ERR_UNKNOWN.code(), 25));
    assertThat(OptionReplyType.isError(replied.type())).isTrue();
    assertThat(Hex.of(OptionReplyHeader.BYTES, replied::write)).isEqualTo(plain(reply));
  }

  @Test
  void listedExportIsReadAndWritten() throws Exception {
    String hex = "00000003 657870 6d792064657363";

    ListedExport export = ListedExport.parse(bytes(hex));

    assertThat(export).isEqualTo(new ListedExport("exp", "my desc"));
    assertThat(Hex.of(export.bytes(), export::write)).isEqualTo(plain(hex));
  }

  @Test
  void exportQueryIsReadAndWritten() throws Exception {
    String hex = "00000003 657870 0004 0000 0001 0002 0003";

    ExportQuery query = ExportQuery.parse(bytes(hex));

    assertThat(query).isEqualTo(new ExportQuery("exp", List.of(0, 1, 2, 3)));
    assertThat(Hex.of(query.bytes(), query::write)).isEqualTo(plain(hex));
  }

  @Test
  void exportQueryWhoseLengthsDoNotAddUpIsRefused() {
    assertRefused("00000003 6578", "export name: 3 bytes long, but only 2 follow");
    assertRefused("ffffffff 6578", "export name: 4294967295 bytes long, but only 2 follow");
    assertRefused("00000002 6578 00", "number of information requests: missing");
    assertRefused("00000002 6578 0002 0000", "2 information requests: 2 bytes follow, not 4");
    assertRefused("00000002 6578 0000 0000", "0 information requests: 2 bytes follow, not 0");
    assertRefused("00000002 6500 0000", "export name: has a NUL in it");
    assertRefused("00000002 c328 0000", "export name: not UTF-8");
    assertRefused(
        "00001001" + "61".repeat(4097) + "0000",
        "export name: 4097 bytes long; at most 4096 are allowed");
  }

  private static void assertRefused(String hex, String message) {
    assertThatThrownBy(() -> ExportQuery.parse(bytes(hex)))
        .isInstanceOf(NbdProtocolException.class)
        .hasMessage(message);
  }

  @Test
  void informationAboutAnExportIsReadAndWritten() throws Exception {
    assertInfo("0001 657870", new ExportInfo.Name("exp"));
    assertInfo("0002 6d792064657363", new ExportInfo.Description("my desc"));
    assertInfo("0003 00000001 00001000 02000000", new ExportInfo.BlockSize(1, 4096, 32 << 20));
    assertInfo("0000 0000000000100000 0d6d", new ExportInfo.Export(1 << 20, 0xd6d));
    assertInfo(
        "0003 00010000 00010000 ffffffff", new ExportInfo.BlockSize(65536, 65536, -1L >>> 32));
  }

  private static void assertInfo(String hex, ExportInfo expected) throws Exception {
    ExportInfo info = ExportInfo.parse(bytes(hex));
    assertThat(info).isEqualTo(expected);
    assertThat(Hex.of(info.bytes(), info::write)).isEqualTo(plain(hex));
  }

  @Test
  void informationOfAnUnknownKindIsIgnored() throws Exception {
    assertThat(ExportInfo.parse(bytes("0009 1234"))).isEqualTo(new ExportInfo.Other(9));
  }

  @Test
  void impossibleInformationIsRefused() {
    assertThatThrownBy(() -> ExportInfo.parse(bytes("0000 8000000000000000 0001")))
        .hasMessage("size of an export: 9223372036854775808 bytes; at most 2^63 - 1 are allowed");
    assertThatThrownBy(() -> ExportInfo.parse(bytes("0000 0000000000100000 0d6d 00")))
        .hasMessage("size and flags of an export: 11 bytes, not 10");
    assertThatThrownBy(() -> ExportInfo.parse(bytes("0003 00000003 00001000 02000000")))
        .hasMessageStartingWith("block sizes of an export: minimum 3, preferred 4096");
  }

  @Test
  void metaContextsAreReadAndWritten() throws Exception {
    String hex =
        "00000003 657870 00000003"
            + "0000000f 626173653a616c6c6f636174696f6e"
            + "00000015 71656d753a616c6c6f636174696f6e2d6465707468"
            + "00000014 71656d753a64697274792d6269746d61703a6262";
    ContextQuery query = ContextQuery.parse(bytes(hex));
    assertThat(query)
        .isEqualTo(
            new ContextQuery(
                "exp",
                List.of(MetaContext.ALLOCATION, MetaContext.DEPTH, MetaContext.BITMAP + "bb")));
    assertThat(Hex.of(query.bytes(), query::write)).isEqualTo(plain(hex));

    String reply = "00000001 71656d753a616c6c6f636174696f6e2d6465707468";
    MetaContext context = MetaContext.parse(bytes(reply));
    assertThat(context).isEqualTo(new MetaContext(1, MetaContext.DEPTH));
    assertThat(Hex.of(context.bytes(), context::write)).isEqualTo(plain(reply));
  }

  @Test
  void contextQueryWhoseLengthsDoNotAddUpIsRefused() {
    assertThatThrownBy(() -> ContextQuery.parse(bytes("00000000 ffffffff 00000001 61")))
        .hasMessage("4294967295 queries: only 5 bytes follow");
    assertThatThrownBy(() -> ContextQuery.parse(bytes("00000000 00000001 00000001 6100")))
        .hasMessage("1 bytes follow the last query");
    assertThatThrownBy(() -> ContextQuery.parse(bytes("00000000 00000001 00000002 61")))
        .hasMessage("query: 2 bytes long, but only 1 follow");
  }

  @Test
  void textsOfThePeerCannotMisleadATerminal() {
    assertThat(Text.printable("a\u001b[31m\n\u202eb\u0000é")).isEqualTo("a?[31m??b?é");
    assertThat(Text.printable("x".repeat(300))).hasSize(259).endsWith("x...");
    assertThat(Text.printable("\ud800")).isEqualTo("?");
  }

  @Test
  void numbersOfOptionsAndReplies() {
    assertThat(OptionType.of(11)).isEqualTo(OptionType.EXTENDED_HEADERS);
    assertThat(OptionType.of(4)).isNull();
    assertThat(OptionReplyType.of(0x8000000a)).isEqualTo(OptionReplyType.ERR_EXT_HEADER_REQD);
    assertThat(OptionReplyType.of(99)).isNull();
  }
}
