package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.nbd.ScriptedServer.Peer;
import dev.imago.nbd.ScriptedServer.Script;
import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import java.io.EOFException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ClientHandshakeTest {
  private static final NbdClientOptions OPTIONS =
      NbdClientOptions.defaults().withRetry(Duration.ZERO);

  private static void refused(Script script, String reason) throws Exception {
    refused(script, false, reason);
  }

  private static void refused(Script script, boolean tls, String reason) throws Exception {
    try (ScriptedServer server = new ScriptedServer(script)) {
      assertThatThrownBy(() -> NbdClient.connect(server.uri(tls), OPTIONS))
          .isInstanceOfSatisfying(
              NbdException.class, e -> assertThat(e.reason()).isEqualTo(reason));
    }
  }

  /** A server that refuses all options but one. */
  private static Script answering(OptionType wanted, Script answer) {
    return peer -> {
      peer.greet(3);
      while (true) {
        Peer.Option option = peer.option();
        if (option.type() == wanted) {
          answer.run(peer);
        } else {
          peer.reply(option.type(), OptionReplyType.ERR_UNSUP);
        }
      }
    };
  }

  private static Script onGo(ExportInfo... infos) {
    return answering(
        OptionType.GO,
        peer -> {
          for (ExportInfo info : infos) {
            peer.info(OptionType.GO, info);
          }
          peer.reply(OptionType.GO, OptionReplyType.ACK);
          peer.in.read();
          throw new EOFException();
        });
  }

  @Test
  void takesWhatTheServerTells() throws Exception {
    try (ScriptedServer server =
            new ScriptedServer(
                onGo(
                    new ExportInfo.Other(99),
                    new ExportInfo.Name("canonical"),
                    new ExportInfo.Description("a disk"),
                    new ExportInfo.BlockSize(512, 4096, 1 << 20),
                    new ExportInfo.Export(1 << 20, 0x3)));
        NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
      assertThat(client.size()).isEqualTo(1 << 20);
      assertThat(client.readOnly()).isTrue();
      assertThat(client.minimumBlock()).isEqualTo(512);
      assertThat(client.preferredBlock()).isEqualTo(4096);
      assertThat(client.description()).isEqualTo("a disk");
      assertThat(client.canTellStatus()).isFalse();
    }
  }

  @Test
  void goesTheOldWayWhereGoIsNotKnown() throws Exception {
    for (boolean zeroes : new boolean[] {false, true}) {
      Script old =
          peer -> {
            peer.greet(zeroes ? 1 : 3);
            while (true) {
              Peer.Option option = peer.option();
              if (option.type() == OptionType.EXPORT_NAME) {
                assertThat(StandardCharsets.UTF_8.decode(option.data()).toString())
                    .isEqualTo("disk");
                peer.sendHex("0000000000100000 0001" + (zeroes ? "00".repeat(124) : ""));
                peer.serveAll((byte) 0);
              }
              peer.reply(option.type(), OptionReplyType.ERR_UNSUP);
            }
          };
      try (ScriptedServer server = new ScriptedServer(old);
          NbdClient client = NbdClient.connect(server.uri(), OPTIONS)) {
        assertThat(client.size()).isEqualTo(1 << 20);
      }
    }
  }

  @Test
  void aServerThatHangsUpOnANameHasNoSuchExport() throws Exception {
    refused(
        answering(
            OptionType.EXPORT_NAME,
            peer -> {
              throw new EOFException();
            }),
        "Requested export not available: the server has closed the connection");
  }

  @Test
  void theServersWordsAreShownWithoutWhatATerminalWouldObey() throws Exception {
    refused(
        answering(
            OptionType.GO,
            peer ->
                peer.reply(
                    OptionType.GO,
                    OptionReplyType.ERR_UNKNOWN,
                    "no\u001b[2J disk".getBytes(StandardCharsets.UTF_8))),
        "Requested export not available\nserver reported: no?[2J disk");
  }

  @Test
  void aServerThatWantsTlsSaysSo() throws Exception {
    refused(
        answering(OptionType.GO, peer -> peer.reply(OptionType.GO, OptionReplyType.ERR_TLS_REQD)),
        "Server requires TLS for option 7 (go)\nUse nbds: or tls-creds");
  }

  @Test
  void aServerWithoutTlsIsLeft() throws Exception {
    refused(answering(OptionType.ABORT, peer -> {}), true, "Server does not support TLS");
  }

  @Test
  void nothingInClearSurvivesTheBeginOfTls() throws Exception {
    Script injecting =
        answering(
            OptionType.STARTTLS,
            peer -> {
              peer.sendHex(
                  "0003e889045565a9 00000005 00000001 00000000"
                      + "0003e889045565a9 00000008 00000001 00000000");
              peer.in.read();
            });
    refused(
        injecting,
        true,
        "protocol error: 20 bytes too many from the server, in clear after it had agreed to TLS");
  }

  @Test
  void serversOfOtherKindsAreRefused() throws Exception {
    refused(
        peer -> peer.sendHex("4e42444d41474943 0000420281861253" + "00".repeat(140)),
        "protocol error: greeting: second half: the magic number is 0x420281861253, not"
            + " 0x49484156454f5054");
    refused(
        peer -> peer.sendHex("4e42444d41474943 49484156454f5054 0002"),
        "protocol error: greeting: flags 0x2; servers without fixed newstyle (bit 0) are not"
            + " supported");
    refused(
        peer -> peer.sendHex("485454502f312e3120343030204261642052"),
        "protocol error: greeting: the magic number is 0x485454502f312e31, not"
            + " 0x4e42444d41474943");
    refused(peer -> {}, "The server has closed the connection without a word");
  }

  @Test
  void sizesAndFlagsThatCannotBeAreRefused() throws Exception {
    refused(
        onGo(new ExportInfo.Export(-1, 1)),
        "protocol error: size of an export: 18446744073709551615 bytes; at most 2^63 - 1 are"
            + " allowed");
    refused(
        onGo(new ExportInfo.Export(4096, 0)),
        "protocol error: flags of an export: 0x0; bit 0 must be set");
    refused(
        onGo(new ExportInfo.BlockSize(512, 512, 512), new ExportInfo.Export(1000, 1)),
        "protocol error: size of an export: 1000 bytes; a multiple of its minimum block, 512, is"
            + " allowed");
    refused(onGo(), "protocol error: reply to GO: size and flags of the export are missing");
  }

  @Test
  void longRepliesAreNotReceived() throws Exception {
    refused(
        answering(
            OptionType.GO, peer -> peer.sendHex("0003e889045565a9 00000007 00000003 ffffffff")),
        "protocol error: reply to an option: 4294967295 bytes; at most 32768 are accepted");
  }

  @Test
  void repliesWithoutEndAreNotFollowed() throws Exception {
    refused(
        answering(
            OptionType.GO,
            peer -> {
              while (true) {
                peer.info(OptionType.GO, new ExportInfo.Other(9));
              }
            }),
        "protocol error: reply to an option: more than 10000 parts");
  }

  @Test
  void repliesToWhatWasNotAskedAreRefused() throws Exception {
    refused(
        answering(OptionType.GO, peer -> peer.reply(OptionType.LIST, OptionReplyType.ACK)),
        "protocol error: reply to an option: it is for option 3, not 7");
    refused(
        answering(
            OptionType.GO, peer -> peer.reply(OptionType.GO, OptionReplyType.SERVER, (byte) 0)),
        "protocol error: reply to INFO: SERVER, not INFO");
  }

  @Test
  void bytesBeforeAnyRequestAreRefused() throws Exception {
    refused(
        answering(
            OptionType.GO,
            peer ->
                peer.sendHex(
                    "0003e889045565a9 00000007 00000003 0000000c 0000 0000000000001000 0001"
                        + "0003e889045565a9 00000007 00000001 00000000 67")),
        "protocol error: 1 bytes too many from the server, before any request");
  }

  @Test
  void aSilentServerIsNotWaitedForForEver() throws Exception {
    try (ScriptedServer server = new ScriptedServer(peer -> peer.in.read())) {
      assertThatThrownBy(
              () -> NbdClient.connect(server.uri(), OPTIONS.withTimeout(Duration.ofMillis(50))))
          .hasMessage("%s: the other end did not answer in time", server.uri());
    }
  }

  @Test
  void aSocketThatIsNotThereIsNamed(@TempDir Path folder) {
    NbdUri uri = NbdUri.parse("nbd+unix://?socket=" + folder.resolve("none"));

    assertThatThrownBy(() -> NbdClient.connect(uri, OPTIONS))
        .hasMessage("%s: Failed to connect to '%s': No such file or directory", uri, uri.address());
  }

  /** What a good server says, with some bytes changed. */
  @Test
  void anythingAtAllEndsInAnErrorOrAnAgreement() throws Exception {
    byte[] good =
        HexFormat.of()
            .parseHex(
                ("4e42444d41474943 49484156454f5054 0003"
                        + "0003e889045565a9 00000008 00000001 00000000"
                        + "0003e889045565a9 0000000a 00000004 00000013 00000007"
                        + "626173653a616c6c6f636174696f6e"
                        + "0003e889045565a9 0000000a 00000001 00000000"
                        + "0003e889045565a9 00000007 00000003 0000000e 0003"
                        + "00000001 00001000 02000000"
                        + "0003e889045565a9 00000007 00000003 0000000c 0000 0000000000100000 0ded"
                        + "0003e889045565a9 00000007 00000001 00000000")
                    .replace(" ", ""));
    long seed = Long.getLong("imago.seed", 815);
    Random random = new Random(seed);
    int rounds = Boolean.getBoolean("imago.long") ? 20_000 : 300;
    int agreed = 0;
    for (int round = 0; round < rounds; round++) {
      byte[] said = good.clone();
      for (int i = random.nextInt(4); i > 0; i--) {
        said[random.nextInt(said.length)] ^= (byte) (1 << random.nextInt(8));
      }
      try (ScriptedServer server = new ScriptedServer(peer -> peer.out.write(said))) {
        NbdClient.connect(server.uri(), OPTIONS).close();
        agreed++;
      } catch (NbdException e) {
        assertThat(e.reason()).as("seed %d, round %d", seed, round).isNotEmpty();
      }
    }
    assertThat(agreed).isBetween(rounds / 10, rounds - 1);
  }

  @Test
  void aListIsNotKeptWhateverItsLength() throws Exception {
    ByteBuffer longest = ByteBuffer.allocate(4 + 4096 + 4096).putInt(0, 4096);
    Arrays.fill(longest.array(), 4, longest.capacity(), (byte) 'x');
    Script endless =
        peer -> {
          peer.greet(3);
          Peer.Option option = peer.option();
          while (true) {
            peer.reply(option.type(), OptionReplyType.SERVER, longest.array());
          }
        };
    try (ScriptedServer server = new ScriptedServer(endless)) {
      assertThatThrownBy(() -> NbdClient.list(server.uri(), NbdClientOptions.defaults()))
          .hasMessageEndingWith("list of exports: its texts have more than 16777216 characters");
    }
  }

  @Test
  void listsWhatAServerHas() throws Exception {
    Script listing =
        peer -> {
          peer.greet(3);
          while (true) {
            Peer.Option option = peer.option();
            switch (option.type()) {
              case LIST -> {
                peer.reply(
                    option.type(), OptionReplyType.SERVER, new byte[] {0, 0, 0, 1, 'a', 'd'});
                peer.reply(option.type(), OptionReplyType.SERVER, new byte[] {0, 0, 0, 0});
                peer.reply(option.type(), OptionReplyType.ACK);
              }
              case INFO -> {
                if (option.data().getInt(0) == 0) {
                  peer.reply(option.type(), OptionReplyType.ERR_POLICY);
                } else {
                  peer.info(option.type(), new ExportInfo.Export(4096, 0x101));
                  peer.info(option.type(), new ExportInfo.BlockSize(1, 512, 4096));
                  peer.reply(option.type(), OptionReplyType.ACK);
                }
              }
              case ABORT -> {
                return;
              }
              default -> peer.reply(option.type(), OptionReplyType.ERR_UNSUP);
            }
          }
        };
    try (ScriptedServer server = new ScriptedServer(listing)) {
      assertThat(NbdClient.list(server.uri(), OPTIONS))
          .containsExactly(
              new NbdExportInfo("a", "d", 4096, 0x101, 1, 512, 4096, List.of()),
              new NbdExportInfo("", "", -1, 0, 0, 0, 0, List.of()));
    }
  }
}
