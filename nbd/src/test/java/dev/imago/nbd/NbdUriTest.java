package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class NbdUriTest {

  @ParameterizedTest
  @CsvSource(
      quoteCharacter = '"',
      textBlock =
          """
          nbd://localhost,                         localhost, 10809, "",      nbd://localhost:10809
          nbd://localhost/,                        localhost, 10809, "",      nbd://localhost:10809
          nbd://h:1/exp,                           h,         1,     exp,     nbd://h:1/exp
          nbd+tcp://h:1/exp,                       h,         1,     exp,     nbd://h:1/exp
          nbd://h:1//exp,                          h,         1,     /exp,    nbd://h:1//exp
          nbd://h/a%2Fb%25,                        h,         10809, a/b%,    nbd://h:10809/a/b%25
          nbd://[::1]:65535/x,                     ::1,       65535, x,       nbd://[::1]:65535/x
          nbd://[::1],                             ::1,       10809, "",      nbd://[::1]:10809
          nbd:h:1,                                 h,         1,     "",      nbd://h:1
          nbd:h:1:exportname=a:b,                  h,         1,     a:b,     nbd://h:1/a:b
          nbd:[::1]:1:exportname=,                 ::1,       1,     "",      nbd://[::1]:1
          """)
  void tcp(String text, String host, int port, String export, String name) {
    NbdUri uri = NbdUri.parse(text);

    assertThat(uri).isEqualTo(new NbdUri(new NbdAddress.Tcp(host, port), export, null));
    assertThat(uri.toString()).isEqualTo(name);
    assertThat(NbdUri.parse(name)).isEqualTo(uri);
  }

  @ParameterizedTest
  @CsvSource(
      quoteCharacter = '"',
      textBlock =
          """
          nbd+unix:///?socket=/a,              /a,   "",   nbd+unix://?socket=/a
          nbd+unix://?socket=/a,               /a,   "",   nbd+unix://?socket=/a
          nbd+unix:///exp?socket=/a%20b,       /a b, exp,  nbd+unix:///exp?socket=/a%20b
          nbd+unix:////exp?socket=a,           a,    /exp, nbd+unix:////exp?socket=a
          nbd:unix:/a,                         /a,   "",   nbd+unix://?socket=/a
          nbd:unix:/a:exportname=%,            /a,   %,    nbd+unix:///%25?socket=/a
          """)
  void unix(String text, String path, String export, String name) {
    NbdUri uri = NbdUri.parse(text);

    assertThat(uri).isEqualTo(new NbdUri(new NbdAddress.Unix(path), export, null));
    assertThat(uri.toString()).isEqualTo(name);
    assertThat(NbdUri.parse(name)).isEqualTo(uri);
  }

  @Test
  void tlsHasParameters() {
    assertThat(NbdUri.parse("nbds://h/x").tls()).isEqualTo(new NbdUri.Tls(null, null, true));
    NbdUri uri =
        NbdUri.parse(
            "nbds+unix:///x?socket=/s&tls-certificates=/c&tls-hostname=h&tls-verify-peer=0"
                + "&tls-type=x509");
    assertThat(uri.tls()).isEqualTo(new NbdUri.Tls(Path.of("/c"), "h", false));
    assertThat(uri.toString()).isEqualTo("nbds+unix:///x?socket=/s");
  }

  @ParameterizedTest
  @CsvSource(
      quoteCharacter = '"',
      textBlock =
          """
          nbd:,                       NBD server address missing
          nbd:h,                      "error parsing address 'h'"
          nbd:h:abc,                  "'abc' is no port: 1 to 65535 are"
          nbd:h:0,                    "'0' is no port: 1 to 65535 are"
          nbd://,                     No valid URL specified: the host is missing
          nbd://h:65536/,             "'65536' is no port: 1 to 65535 are"
          nbd://h/x?foo=1,            "No valid URL specified: the parameter 'foo' is not known"
          nbd://h/x?socket=/s,        "No valid URL specified: 'socket' needs nbd+unix:"
          nbd://h/x#y,                No valid URL specified: it has a fragment
          nbd://h/%4,                 "No valid URL specified: '%' is not followed by two hex digits"
          nbd+unix:///x,              "No valid URL specified: the parameter 'socket' is missing"
          nbd+unix://h/x?socket=/s,   No valid URL specified: a Unix socket has no host
          nbd+unix:///?socket=a&socket=b, "No valid URL specified: 'socket' is there twice"
          nbd+unix:///x?socket=%00a,  "No valid URL specified: abstract sockets are not supported: the JDK does not know them"
          nbd://h/x?tls-hostname=a,   "No valid URL specified: TLS needs nbds:"
          nbds://h/x?tls-type=psk,    "No valid URL specified: pre-shared keys are not supported: the JDK's TLS does not know them"
          nbds://h/x?tls-type=anon,   "No valid URL specified: 'tls-type' is 'anon'; x509 is supported"
          nbds:h:1,                   "No valid URL specified: there is no '://'"
          """)
  void whatIsNoExportIsRefused(String text, String message) {
    assertThatThrownBy(() -> NbdUri.parse(text))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message);
  }

  @Test
  void namesAreNoLongerThanTheProtocolAllows() {
    assertThat(NbdUri.parse("nbd://h/" + "x".repeat(4096)).export()).hasSize(4096);
    assertThatThrownBy(() -> NbdUri.parse("nbd://h/" + "x".repeat(4097)))
        .hasMessage("the export's name is longer than 4096 bytes");
  }

  @Test
  void onlyNamesOfExportsBeginLikeOne() {
    assertThat(NbdUri.isOne("nbd:x")).isTrue();
    assertThat(NbdUri.isOne("nbds+unix:///")).isTrue();
    assertThat(NbdUri.isOne("./nbd:x")).isFalse();
    assertThat(NbdUri.isOne("nbd")).isFalse();
  }
}
