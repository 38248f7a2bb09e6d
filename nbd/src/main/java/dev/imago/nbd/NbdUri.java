package dev.imago.nbd;

import dev.imago.nbd.wire.Limits;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HexFormat;
import org.jspecify.annotations.Nullable;

/**
 * An export of an NBD server, and how to get there.
 *
 * <p>Read from {@code nbd://host[:port][/export]}, {@code nbds://…} (TLS), {@code
 * nbd+unix:///[export]?socket=PATH}, {@code nbds+unix:///…}, {@code nbd+tcp://…}, {@code
 * nbds+tcp://…}, and QEMU's older {@code nbd:host:port[:exportname=X]}, {@code
 * nbd:unix:PATH[:exportname=X]}. An IPv6 address stands in brackets; what follows the first slash
 * is the export's name. With TLS, {@code tls-certificates=FOLDER} (see {@link NbdTls}), {@code
 * tls-hostname=NAME} and {@code tls-verify-peer=0} may be among the parameters. All but the older
 * form is percent-decoded; a parameter that is not known is an error.
 *
 * @param address where the server listens
 * @param export the export's name, at most 4096 bytes of UTF-8; empty for the server's default
 * @param tls how TLS is used, or null to talk in clear
 */
public record NbdUri(NbdAddress address, String export, @Nullable Tls tls) {
  private static final String EXPORT_NAME = ":exportname=";

  /** Checks the name's length. */
  public NbdUri {
    if (export.getBytes(StandardCharsets.UTF_8).length > Limits.STRING) {
      throw new IllegalArgumentException(
          "the export's name is longer than %d bytes".formatted(Limits.STRING));
    }
  }

  /**
   * TLS as an URI asks for it.
   *
   * @param certificates the folder with certificates, or null for what the JDK trusts
   * @param hostname whom the server's certificate must be for; null for the address's host
   * @param verifyPeer whether the server's certificate is checked at all
   */
  public record Tls(@Nullable Path certificates, @Nullable String hostname, boolean verifyPeer) {}

  /** Whether a name is meant to be one of an export: it begins as one. */
  public static boolean isOne(String name) {
    for (String scheme :
        new String[] {"nbd:", "nbds:", "nbd+unix:", "nbds+unix:", "nbd+tcp:", "nbds+tcp:"}) {
      if (name.startsWith(scheme)) {
        return true;
      }
    }
    return false;
  }

  /**
   * Takes a name apart.
   *
   * @throws IllegalArgumentException if it is none of an export; the message says what is wrong
   *     with it, in QEMU's words where it has any
   */
  public static NbdUri parse(String text) {
    return text.startsWith("nbd:") && !text.startsWith("nbd://")
        ? older(text.substring(4))
        : new Parts(text).toUri();
  }

  private static NbdUri older(String text) {
    String where = text;
    String export = "";
    int named = text.indexOf(EXPORT_NAME);
    if (named >= 0) {
      where = text.substring(0, named);
      export = text.substring(named + EXPORT_NAME.length());
    }
    if (where.isEmpty()) {
      throw new IllegalArgumentException("NBD server address missing");
    }
    if (where.startsWith("unix:")) {
      return new NbdUri(new NbdAddress.Unix(where.substring(5)), export, null);
    }
    int colon = where.lastIndexOf(':');
    if (colon < 0) {
      throw new IllegalArgumentException("error parsing address '" + where + "'");
    }
    return new NbdUri(
        new NbdAddress.Tcp(host(where.substring(0, colon)), port(where.substring(colon + 1))),
        export,
        null);
  }

  /** As QEMU names it, but that what could not be read again is percent-encoded. */
  @Override
  public String toString() {
    String scheme = tls == null ? "nbd" : "nbds";
    String name = encode(export);
    return switch (address) {
      case NbdAddress.Tcp tcp -> scheme + "://" + tcp + (name.isEmpty() ? "" : "/" + name);
      case NbdAddress.Unix unix ->
          scheme
              + "+unix://"
              + (name.isEmpty() ? "" : "/" + name)
              + "?socket="
              + encode(unix.path());
    };
  }

  private static String encode(String text) {
    StringBuilder encoded = new StringBuilder();
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      if (b <= ' ' || "%?#&+\u007f".indexOf(b) >= 0) {
        encoded.append('%').append(HexFormat.of().withUpperCase().toHexDigits(b));
      } else {
        encoded.append((char) b);
      }
    }
    return encoded.toString();
  }

  private static String host(String text) {
    return text.startsWith("[") && text.endsWith("]") ? text.substring(1, text.length() - 1) : text;
  }

  private static int port(String text) {
    if (text.matches("[0-9]{1,5}")) {
      int port = Integer.parseInt(text);
      if (port >= 1 && port <= 65535) {
        return port;
      }
    }
    throw new IllegalArgumentException("'" + text + "' is no port: 1 to 65535 are");
  }

  /** A URI's parts while they are read. */
  private static final class Parts {
    private final String scheme;
    private final String authority;
    private final String path;
    private @Nullable String socket;
    private @Nullable Path certificates;
    private @Nullable String hostname;
    private boolean verifyPeer = true;
    private boolean tlsParameters;

    Parts(String text) {
      int colon = text.indexOf("://");
      if (colon < 0) {
        throw invalid("there is no '://'");
      }
      scheme = text.substring(0, colon);
      String rest = text.substring(colon + 3);
      int hash = rest.indexOf('#');
      if (hash >= 0) {
        throw invalid("it has a fragment");
      }
      int question = rest.indexOf('?');
      if (question >= 0) {
        for (String parameter : rest.substring(question + 1).split("&", -1)) {
          take(parameter);
        }
        rest = rest.substring(0, question);
      }
      int slash = rest.indexOf('/');
      authority = slash < 0 ? rest : rest.substring(0, slash);
      path = slash < 0 ? "" : rest.substring(slash + 1);
    }

    private static IllegalArgumentException invalid(String why) {
      return new IllegalArgumentException("No valid URL specified: " + why);
    }

    private void take(String parameter) {
      int equals = parameter.indexOf('=');
      String name = equals < 0 ? parameter : parameter.substring(0, equals);
      String value = equals < 0 ? "" : decode(parameter.substring(equals + 1));
      switch (name) {
        case "socket" -> {
          if (socket != null) {
            throw invalid("'socket' is there twice");
          }
          socket = value;
        }
        case "tls-certificates" -> certificates = Path.of(value);
        case "tls-hostname" -> hostname = value;
        case "tls-verify-peer" -> verifyPeer = verify(value);
        case "tls-type" -> {
          if (value.equals("psk")) {
            throw invalid("pre-shared keys are not supported: the JDK's TLS does not know them");
          }
          if (!value.equals("x509")) {
            throw invalid("'tls-type' is '" + value + "'; x509 is supported");
          }
        }
        default -> throw invalid("the parameter '" + name + "' is not known");
      }
      tlsParameters |= name.startsWith("tls-");
    }

    private static boolean verify(String value) {
      return switch (value) {
        case "1", "true" -> true;
        case "0", "false" -> false;
        default -> throw invalid("'tls-verify-peer' is '" + value + "'; 0 and 1 are allowed");
      };
    }

    NbdUri toUri() {
      boolean secure = scheme.startsWith("nbds");
      if (tlsParameters && !secure) {
        throw invalid("TLS needs nbds:");
      }
      Tls tls = secure ? new Tls(certificates, hostname, verifyPeer) : null;
      return switch (scheme) {
        case "nbd", "nbds", "nbd+tcp", "nbds+tcp" -> {
          if (socket != null) {
            throw invalid("'socket' needs " + (secure ? "nbds" : "nbd") + "+unix:");
          }
          yield new NbdUri(tcp(), decode(path), tls);
        }
        case "nbd+unix", "nbds+unix" -> {
          if (!authority.isEmpty()) {
            throw invalid("a Unix socket has no host");
          }
          if (socket == null || socket.isEmpty()) {
            throw invalid("the parameter 'socket' is missing");
          }
          if (socket.startsWith("\0")) {
            throw invalid("abstract sockets are not supported: the JDK does not know them");
          }
          yield new NbdUri(new NbdAddress.Unix(socket), decode(path), tls);
        }
        default -> throw invalid("'" + scheme + "' is no scheme of NBD");
      };
    }

    private NbdAddress tcp() {
      String text = decode(authority.substring(authority.lastIndexOf('@') + 1));
      int colon = text.lastIndexOf(':');
      boolean withPort = colon > text.lastIndexOf(']');
      String host = host(withPort ? text.substring(0, colon) : text);
      if (host.isEmpty()) {
        throw invalid("the host is missing");
      }
      return new NbdAddress.Tcp(host, withPort ? port(text.substring(colon + 1)) : Limits.PORT);
    }

    private static String decode(String text) {
      if (text.indexOf('%') < 0) {
        return text;
      }
      ByteArrayOutputStream bytes = new ByteArrayOutputStream();
      for (int i = 0; i < text.length(); ) {
        if (text.charAt(i) == '%') {
          if (i + 3 > text.length()
              || !HexFormat.isHexDigit(text.charAt(i + 1))
              || !HexFormat.isHexDigit(text.charAt(i + 2))) {
            throw invalid("'%' is not followed by two hex digits");
          }
          bytes.write(HexFormat.fromHexDigits(text, i + 1, i + 3));
          i += 3;
        } else {
          int point = text.codePointAt(i);
          bytes.writeBytes(Character.toString(point).getBytes(StandardCharsets.UTF_8));
          i += Character.charCount(point);
        }
      }
      return bytes.toString(StandardCharsets.UTF_8);
    }
  }
}
