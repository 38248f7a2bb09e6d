package dev.imago.nbd;

import static dev.imago.nbd.wire.OptionReplyType.ACK;
import static dev.imago.nbd.wire.OptionReplyType.ERR_EXT_HEADER_REQD;
import static dev.imago.nbd.wire.OptionReplyType.ERR_INVALID;
import static dev.imago.nbd.wire.OptionReplyType.ERR_POLICY;
import static dev.imago.nbd.wire.OptionReplyType.ERR_TOO_BIG;
import static dev.imago.nbd.wire.OptionReplyType.ERR_UNKNOWN;
import static dev.imago.nbd.wire.OptionReplyType.ERR_UNSUP;
import static dev.imago.nbd.wire.OptionReplyType.META_CONTEXT;
import static dev.imago.nbd.wire.OptionReplyType.SERVER;
import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.Greeting;
import dev.imago.nbd.wire.ListedExport;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.nbd.wire.TransmissionFlags;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class HandshakeTest {
  private static final byte[] NOTHING = {};
  private static final int DISK_FLAGS = 0x0d6d;

  private Served served;

  @BeforeEach
  void serve() throws Exception {
    Image image = Served.qcow2();
    NbdServerOptions options =
        NbdServerOptions.of(NbdExport.of("disk", image).description("a disk"))
            .export(
                NbdExport.of("part", image)
                    .window(1 << 20, 1 << 20)
                    .readOnly(true)
                    .allocationDepth(true));
    served = Served.of(image, options, o -> o);
  }

  @AfterEach
  void end() throws Exception {
    served.close();
  }

  private Peer peer() throws IOException {
    return Peer.greeted(served.address());
  }

  private static List<OptionReplyType> types(List<Peer.OptionReply> replies) {
    return replies.stream().map(Peer.OptionReply::known).toList();
  }

  private static String text(List<Peer.OptionReply> replies) {
    return new String(replies.getLast().data(), StandardCharsets.UTF_8);
  }

  private static List<ExportInfo> infos(List<Peer.OptionReply> replies) throws IOException {
    List<ExportInfo> infos = new ArrayList<>();
    for (Peer.OptionReply reply : replies.subList(0, replies.size() - 1)) {
      infos.add(ExportInfo.parse(reply.bytes()));
    }
    return infos;
  }

  @Test
  void greetingOffersFixedNewstyleAndNoZeroes() throws Exception {
    try (Peer peer = Peer.connect(served.address())) {
      assertThat(Greeting.parse(peer.receive(Greeting.BYTES)).flags()).isEqualTo(3);
    }
  }

  @Test
  void listNamesAllExports() throws Exception {
    try (Peer peer = peer()) {
      List<Peer.OptionReply> replies = peer.option(OptionType.LIST.code(), NOTHING);

      assertThat(types(replies)).containsExactly(SERVER, SERVER, ACK);
      assertThat(ListedExport.parse(replies.get(0).bytes()))
          .isEqualTo(new ListedExport("disk", "a disk"));
      assertThat(ListedExport.parse(replies.get(1).bytes()))
          .isEqualTo(new ListedExport("part", ""));
      assertThat(types(peer.option(OptionType.LIST.code(), new byte[4])))
          .containsExactly(ERR_INVALID);
    }
  }

  @Test
  void infoTellsWhatIsAskedForAndGoesOnHaggling() throws Exception {
    try (Peer peer = peer()) {
      assertThat(infos(peer.info(OptionType.INFO, "disk", 0, 1, 2, 3)))
          .containsExactly(
              new ExportInfo.Name("disk"),
              new ExportInfo.Description("a disk"),
              new ExportInfo.BlockSize(1, 4096, 32 << 20),
              new ExportInfo.Export(Served.SIZE, DISK_FLAGS));
      assertThat(infos(peer.info(OptionType.INFO, "part")))
          .contains(
              new ExportInfo.Export(
                  1 << 20,
                  TransmissionFlags.HAS_FLAGS
                      | TransmissionFlags.READ_ONLY
                      | TransmissionFlags.SEND_FLUSH
                      | TransmissionFlags.SEND_FUA
                      | TransmissionFlags.CAN_MULTI_CONN
                      | TransmissionFlags.SEND_CACHE));
    }
  }

  @Test
  void emptyNameIsTheFirstExport() throws Exception {
    try (Peer peer = peer()) {
      assertThat(infos(peer.info(OptionType.INFO, "", ExportInfo.NAME)))
          .contains(new ExportInfo.Name("disk"));
    }
  }

  @Test
  void unknownExportIsRefusedAndTheNameIsShownHarmless() throws Exception {
    try (Peer peer = peer()) {
      List<Peer.OptionReply> replies = peer.go("no\u001bpe");

      assertThat(types(replies)).containsExactly(ERR_UNKNOWN);
      assertThat(text(replies)).isEqualTo("export 'no?pe' not present");
      assertThat(text(peer.go("x".repeat(4096)))).hasSizeLessThan(400);
      assertThat(types(peer.go("disk"))).endsWith(ACK);
    }
  }

  @Test
  void goBeginsTransmissionWithTheFlagsOfWhatWasAgreed() throws Exception {
    try (Peer peer = peer()) {
      peer.agreeOn(ReplyStyle.STRUCTURED);

      assertThat(infos(peer.go("disk")))
          .contains(new ExportInfo.Export(Served.SIZE, DISK_FLAGS | TransmissionFlags.SEND_DF));
      peer.request(CommandType.FLUSH, 0, 7, 0, 0);
      assertThat(peer.simpleReply()).isEqualTo(new SimpleReply(0, 7));
    }
  }

  @Test
  void exportNameIsAnsweredTheOldWay() throws Exception {
    byte[] name = "disk".getBytes(StandardCharsets.UTF_8);
    try (Peer peer = peer()) {
      peer.sendOption(OptionType.EXPORT_NAME.code(), name);
      ByteBuffer answer = peer.receive(10);
      assertThat(answer.getLong()).isEqualTo(Served.SIZE);
      assertThat(answer.getShort()).isEqualTo((short) DISK_FLAGS);
      peer.request(CommandType.FLUSH, 0, 7, 0, 0);
      assertThat(peer.simpleReply().error()).isZero();
    }
    try (Peer old = Peer.greeted(served.address(), 0)) {
      old.sendOption(OptionType.EXPORT_NAME.code(), name);
      assertThat(old.receive(134).slice(10, 124)).isEqualTo(ByteBuffer.allocate(124));
      old.request(CommandType.FLUSH, 0, 7, 0, 0);
      assertThat(old.simpleReply().error()).isZero();
    }
  }

  @Test
  void exportNameThatIsNotThereEndsTheConnection() throws Exception {
    try (Peer peer = peer()) {
      peer.sendOption(OptionType.EXPORT_NAME.code(), "nope".getBytes(StandardCharsets.UTF_8));
      peer.awaitHangup();
    }
  }

  @Test
  void abortIsAnsweredAndEndsTheConnection() throws Exception {
    try (Peer peer = peer()) {
      assertThat(types(peer.option(OptionType.ABORT.code(), NOTHING))).containsExactly(ACK);
      peer.awaitHangup();
    }
  }

  @Test
  void unknownOptionIsRefusedAndTheHandshakeGoesOn() throws Exception {
    try (Peer peer = peer()) {
      List<Peer.OptionReply> replies = peer.option(77, new byte[1000]);

      assertThat(types(replies)).containsExactly(ERR_UNSUP);
      assertThat(text(replies)).isEqualTo("Unsupported option 77");
      assertThat(types(peer.go("disk"))).endsWith(ACK);
    }
  }

  @Test
  void longOptionIsSkippedAndRefused() throws Exception {
    try (Peer peer = peer()) {
      assertThat(types(peer.option(OptionType.GO.code(), new byte[Handshake.MAX_OPTION + 1])))
          .containsExactly(ERR_TOO_BIG);
      assertThat(types(peer.go("disk"))).endsWith(ACK);
    }
  }

  @Test
  void dataThatDoNotAddUpAreRefusedAndTheHandshakeGoesOn() throws Exception {
    try (Peer peer = peer()) {
      List<Peer.OptionReply> replies = peer.option(OptionType.GO.code(), new byte[] {0, 0, 0, 9});

      assertThat(types(replies)).containsExactly(ERR_INVALID);
      assertThat(text(replies)).isEqualTo("export name: 9 bytes long, but only 0 follow");
      assertThat(types(peer.go("disk"))).endsWith(ACK);
    }
  }

  @Test
  void tlsIsRefusedWhereThereIsNone() throws Exception {
    try (Peer peer = peer()) {
      assertThat(types(peer.option(OptionType.STARTTLS.code(), NOTHING)))
          .containsExactly(ERR_POLICY);
    }
  }

  @Test
  void extendedHeadersAreUnknownUnlessAllowed() throws Exception {
    try (Peer peer = peer()) {
      assertThat(types(peer.option(OptionType.EXTENDED_HEADERS.code(), NOTHING)))
          .containsExactly(ERR_UNSUP);
    }
    try (Served extended = Served.of(Served.raw(), o -> o.extendedHeaders(true));
        Peer peer = Peer.greeted(extended.address())) {
      assertThat(types(peer.option(OptionType.EXTENDED_HEADERS.code(), NOTHING)))
          .containsExactly(ACK);
      assertThat(types(peer.option(OptionType.STRUCTURED_REPLY.code(), NOTHING)))
          .containsExactly(ERR_EXT_HEADER_REQD);
      peer.sendOption(OptionType.EXPORT_NAME.code(), NOTHING);
      peer.awaitHangup();
    }
  }

  @Test
  void metaContextsNeedStructuredReplies() throws Exception {
    try (Peer peer = peer()) {
      assertThat(types(peer.contexts(OptionType.SET_META_CONTEXT, "disk", MetaContext.ALLOCATION)))
          .containsExactly(ERR_INVALID);
    }
  }

  @Test
  void choiceOfContextsThatIsTooLongReplacesTheOneBefore() throws Exception {
    try (Peer peer = peer()) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      int set = OptionType.SET_META_CONTEXT.code();
      assertThat(names(peer.contexts(OptionType.SET_META_CONTEXT, "disk", MetaContext.ALLOCATION)))
          .hasSize(1);
      assertThat(types(peer.option(set, new byte[Handshake.MAX_OPTION + 1])))
          .containsExactly(ERR_TOO_BIG);
      peer.go("disk");
      peer.request(CommandType.BLOCK_STATUS, 0, 1, 0, 512);
      assertThat(((Chunk.Failed) peer.pieces(1).getFirst()).error()).isEqualTo(22);
    }
  }

  private static List<String> names(List<Peer.OptionReply> replies) throws IOException {
    List<String> names = new ArrayList<>();
    for (Peer.OptionReply reply : replies) {
      if (reply.known() == META_CONTEXT) {
        MetaContext context = MetaContext.parse(reply.bytes());
        names.add(context.id() + " " + context.name());
      }
    }
    return names;
  }

  @Test
  void metaContextsAreListedByNameNamespaceOrAll() throws Exception {
    try (Peer peer = peer()) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      OptionType list = OptionType.LIST_META_CONTEXT;

      assertThat(names(peer.contexts(list, "part")))
          .containsExactly("0 base:allocation", "0 qemu:allocation-depth");
      assertThat(names(peer.contexts(list, "part", "qemu:")))
          .containsExactly("0 qemu:allocation-depth");
      assertThat(names(peer.contexts(list, "part", "qemu:dirty-bitmap:"))).isEmpty();
      assertThat(names(peer.contexts(list, "disk", "base:", "base:allocation", "other:x")))
          .containsExactly("0 base:allocation");
      assertThat(names(peer.contexts(list, "disk", "b"))).isEmpty();
      assertThat(types(peer.contexts(list, "nope"))).containsExactly(ERR_UNKNOWN);
    }
  }

  @Test
  void metaContextsAreChosenByTheirExactNamesAndGetIds() throws Exception {
    try (Peer peer = peer()) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      OptionType set = OptionType.SET_META_CONTEXT;

      assertThat(names(peer.contexts(set, "part", "qemu:"))).isEmpty();
      assertThat(
              names(
                  peer.contexts(
                      set, "part", MetaContext.DEPTH, MetaContext.DEPTH, MetaContext.ALLOCATION)))
          .containsExactly("0 base:allocation", "1 qemu:allocation-depth");
    }
  }

  @Test
  void choiceOfMetaContextsIsForOneExportOnly() throws Exception {
    try (Peer peer = peer()) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      peer.contexts(OptionType.SET_META_CONTEXT, "part", MetaContext.ALLOCATION);
      peer.go("disk");

      peer.request(CommandType.BLOCK_STATUS, 0, 1, 0, 4096);

      assertThat(peer.pieces(1))
          .containsExactly(new Chunk.Failed(22, "CMD_BLOCK_STATUS not negotiated", -1));
    }
  }

  @Test
  void failedChoiceOfMetaContextsUndoesTheOneBefore() throws Exception {
    try (Peer peer = peer()) {
      peer.agreeOn(ReplyStyle.STRUCTURED);
      peer.contexts(OptionType.SET_META_CONTEXT, "disk", MetaContext.ALLOCATION);
      peer.contexts(OptionType.SET_META_CONTEXT, "nope", MetaContext.ALLOCATION);
      peer.go("disk");

      peer.request(CommandType.BLOCK_STATUS, 0, 1, 0, 4096);

      assertThat(peer.pieces(1))
          .containsExactly(new Chunk.Failed(22, "CMD_BLOCK_STATUS not negotiated", -1));
    }
  }

  @Test
  void onlyConnectionIsNotSaidToBeOneOfMany() throws Exception {
    try (Served alone = Served.of(Served.raw(), o -> o.connections(1));
        Peer peer = Peer.greeted(alone.address())) {
      assertThat(infos(peer.go("")))
          .contains(
              new ExportInfo.Export(Served.SIZE, DISK_FLAGS & ~TransmissionFlags.CAN_MULTI_CONN));
    }
  }

  @Test
  void whatIsNotNbdEndsTheConnection() throws Exception {
    for (String nonsense : List.of("GET / HTTP/1.1\r\n\r\n", "\0\0\0\3not an option at all")) {
      try (Peer peer = Peer.connect(served.address())) {
        peer.send(ByteBuffer.wrap(nonsense.getBytes(StandardCharsets.ISO_8859_1)));
        peer.awaitHangup();
      }
    }
    try (Peer peer = peer()) {
      peer.send(OptionHeader.BYTES, new OptionHeader(99, 1L << 31)::write);
      peer.awaitHangup();
    }
  }
}
