package dev.imago.nbd;

import dev.imago.nbd.wire.ContextQuery;
import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.ExportQuery;
import dev.imago.nbd.wire.Greeting;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.ListedExport;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.Text;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * The server's side of the handshake: greets, answers options, and ends with an export to serve.
 * For the connection's own thread.
 */
final class Handshake {
  /** Data of an option may be so long: a name and many queries. Longer ones are refused. */
  static final int MAX_OPTION = 64 << 10;

  /** An option with more data than this ends the connection; it is not even read. */
  static final int MAX_SKIPPED = 1 << 20;

  private static final int NO_ZEROES_PADDING = 124;

  private final NbdServer server;
  private final Incoming in;
  private final OptionReplies replies;
  private final ContextChoice contexts;
  private boolean encrypted;
  private boolean fixedNewstyle;
  private boolean noZeroes;
  private ReplyStyle style = ReplyStyle.SIMPLE;

  /**
   * Begins.
   *
   * @param out where replies are put together, {@link #MAX_OPTION} bytes at least
   */
  Handshake(NbdServer server, Transport transport, Incoming in, ByteBuffer out) {
    this.server = server;
    this.in = in;
    this.replies = new OptionReplies(transport, out);
    this.contexts = new ContextChoice(replies);
  }

  /** What requests and replies go through after the handshake. */
  Transport transport() {
    return replies.transport();
  }

  /**
   * Goes through with it.
   *
   * @return what to serve, or null if the client has left
   * @throws NbdProtocolException if the client broke the protocol
   */
  @Nullable Agreement run() throws IOException {
    new Greeting(Greeting.FIXED_NEWSTYLE | Greeting.NO_ZEROES).write(replies.buffer());
    replies.send();
    if (!in.fill(Greeting.CLIENT_FLAGS_BYTES)) {
      return null;
    }
    int flags = in.buffer().getInt();
    if ((flags & ~(Greeting.FIXED_NEWSTYLE | Greeting.NO_ZEROES)) != 0) {
      throw new NbdProtocolException("client flags 0x%x; 0x3 are allowed at most".formatted(flags));
    }
    fixedNewstyle = (flags & Greeting.FIXED_NEWSTYLE) != 0;
    noZeroes = (flags & Greeting.NO_ZEROES) != 0;
    while (in.fill(OptionHeader.BYTES)) {
      OptionHeader header = OptionHeader.parse(in.buffer());
      if (header.length() > MAX_SKIPPED) {
        throw new NbdProtocolException(
            "option %d: %d bytes of data; at most %d are allowed"
                .formatted(header.option(), header.length(), MAX_OPTION));
      }
      OptionType type = OptionType.of(header.option());
      if (type == OptionType.EXPORT_NAME) {
        return exportName(header);
      }
      if (!fixedNewstyle) {
        throw new NbdProtocolException(
            "option " + header.option() + " of a client without fixed newstyle");
      }
      if (header.length() > MAX_OPTION) {
        if (type == OptionType.SET_META_CONTEXT) {
          contexts.forget(); // also by one that fails
        }
        in.skip(header.length());
        replies.end(header, OptionReplyType.ERR_TOO_BIG, "option data longer than 64 KiB");
        continue;
      }
      in.require((int) header.length());
      ByteBuffer data = in.buffer().slice(in.buffer().position(), (int) header.length());
      in.buffer().position(in.buffer().position() + (int) header.length());
      if (type == OptionType.ABORT) {
        replies.acknowledge(header);
        return null;
      }
      Agreement agreement = option(header, type, data);
      if (agreement != null) {
        return agreement;
      }
    }
    return null;
  }

  private @Nullable Agreement option(
      OptionHeader header, @Nullable OptionType type, ByteBuffer data) throws IOException {
    if (server.stopping()) {
      replies.end(header, OptionReplyType.ERR_SHUTDOWN, "the server is shutting down");
      return null;
    }
    if (server.options().tls() != null && !encrypted && type != OptionType.STARTTLS) {
      replies.end(
          header, OptionReplyType.ERR_TLS_REQD, "Use of TLS is required: STARTTLS comes first");
      return null;
    }
    try {
      switch (type) {
        case LIST -> list(header, data);
        case STARTTLS -> startTls(header, data);
        case INFO -> info(header, data);
        case GO -> {
          return info(header, data);
        }
        case STRUCTURED_REPLY -> structuredReply(header, data);
        case LIST_META_CONTEXT -> listContexts(header, data);
        case SET_META_CONTEXT -> setContexts(header, data);
        case EXTENDED_HEADERS -> extendedHeaders(header, data);
        case null, default -> unsupported(header);
      }
    } catch (Malformed e) {
      replies.end(header, OptionReplyType.ERR_INVALID, e.getMessage());
    }
    return null;
  }

  /** Data of an option that make no sense: told to the client, who may go on. */
  private static final class Malformed extends Exception {
    private static final long serialVersionUID = 1L;

    private final String text;

    Malformed(String text) {
      super(text, null, false, false);
      this.text = text;
    }

    @Override
    public String getMessage() {
      return text;
    }
  }

  private interface Parser<T> {
    T parse(ByteBuffer data) throws NbdProtocolException;
  }

  private static <T> T parsed(Parser<T> parser, ByteBuffer data) throws Malformed {
    try {
      return parser.parse(data);
    } catch (NbdProtocolException e) {
      throw new Malformed(String.valueOf(e.getMessage()));
    }
  }

  private static void requireNoData(ByteBuffer data) throws Malformed {
    if (data.hasRemaining()) {
      throw new Malformed("the option has data, and should have none");
    }
  }

  private void unsupported(OptionHeader header) throws IOException {
    replies.end(
        header,
        OptionReplyType.ERR_UNSUP,
        "Unsupported option " + Integer.toUnsignedString(header.option()));
  }

  /** The old way to an export: a failure can only be told by hanging up. */
  private Agreement exportName(OptionHeader header) throws IOException {
    if (header.length() > Limits.STRING) {
      throw new NbdProtocolException(
          "export name: %d bytes long; at most %d are allowed"
              .formatted(header.length(), Limits.STRING));
    }
    in.require((int) header.length());
    String name = Text.read(in.buffer(), header.length(), "export name");
    if (server.options().tls() != null && !encrypted) {
      throw new NbdProtocolException("EXPORT_NAME before STARTTLS");
    }
    if (style == ReplyStyle.EXTENDED) {
      throw new NbdProtocolException("EXPORT_NAME after EXTENDED_HEADERS");
    }
    ServedExport export = server.export(name);
    if (export == null || server.stopping()) {
      throw new NbdProtocolException("no export '" + Text.printable(name) + "'");
    }
    ByteBuffer out = replies.buffer();
    out.putLong(export.size()).putShort((short) export.flags(style, server.shared()));
    if (!noZeroes) {
      out.put(new byte[NO_ZEROES_PADDING]);
    }
    replies.send();
    return agreed(export);
  }

  private Agreement agreed(ServedExport export) {
    return new Agreement(export, style, contexts.of(export));
  }

  private void list(OptionHeader header, ByteBuffer data) throws IOException, Malformed {
    requireNoData(data);
    for (ServedExport export : server.exports()) {
      ListedExport listed = new ListedExport(export.name(), export.description());
      replies.add(header, OptionReplyType.SERVER, listed.bytes(), listed::write);
    }
    replies.acknowledge(header);
  }

  private void startTls(OptionHeader header, ByteBuffer data) throws IOException, Malformed {
    requireNoData(data);
    NbdTls tls = server.options().tls();
    if (tls == null) {
      replies.end(header, OptionReplyType.ERR_POLICY, "TLS not configured");
      return;
    }
    if (encrypted || !(replies.transport() instanceof PlainTransport plain)) {
      throw new Malformed("TLS is already in use");
    }
    // Whatever is here was sent in clear, perhaps by somebody in between.
    in.requireEmpty();
    replies.acknowledge(header);
    Transport secure = TlsTransport.over(plain, tls.serverEngine());
    replies.switchTo(secure);
    in.switchTo(secure);
    encrypted = true;
    style = ReplyStyle.SIMPLE;
    contexts.forget();
  }

  private @Nullable Agreement info(OptionHeader header, ByteBuffer data)
      throws IOException, Malformed {
    ExportQuery query = parsed(ExportQuery::parse, data);
    ServedExport export = find(header, query.name());
    if (export == null) {
      return null;
    }
    if (query.infoTypes().contains(ExportInfo.NAME)) {
      replies.add(header, new ExportInfo.Name(export.name()));
    }
    if (!export.description().isEmpty()) {
      replies.add(header, new ExportInfo.Description(export.description()));
    }
    replies.add(header, new ExportInfo.BlockSize(1, 4096, Limits.PAYLOAD));
    replies.add(header, new ExportInfo.Export(export.size(), export.flags(style, server.shared())));
    replies.acknowledge(header);
    return header.option() == OptionType.GO.code() ? agreed(export) : null;
  }

  private @Nullable ServedExport find(OptionHeader header, String name) throws IOException {
    ServedExport export = server.export(name);
    if (export == null) {
      replies.end(
          header, OptionReplyType.ERR_UNKNOWN, "export '" + Text.printable(name) + "' not present");
    }
    return export;
  }

  private void structuredReply(OptionHeader header, ByteBuffer data) throws IOException, Malformed {
    requireNoData(data);
    if (style == ReplyStyle.EXTENDED) {
      replies.end(header, OptionReplyType.ERR_EXT_HEADER_REQD, "extended headers are in use");
      return;
    }
    style = ReplyStyle.STRUCTURED;
    replies.acknowledge(header);
  }

  private void extendedHeaders(OptionHeader header, ByteBuffer data) throws IOException, Malformed {
    if (!server.options().extendedHeaders()) {
      unsupported(header);
      return;
    }
    requireNoData(data);
    style = ReplyStyle.EXTENDED;
    replies.acknowledge(header);
  }

  private ContextQuery contextQuery(ByteBuffer data) throws Malformed {
    if (!style.chunked()) {
      throw new Malformed("meta contexts need structured replies: STRUCTURED_REPLY comes first");
    }
    return parsed(ContextQuery::parse, data);
  }

  private void listContexts(OptionHeader header, ByteBuffer data) throws IOException, Malformed {
    ContextQuery query = contextQuery(data);
    ServedExport export = find(header, query.export());
    if (export != null) {
      contexts.list(header, query, export);
    }
  }

  private void setContexts(OptionHeader header, ByteBuffer data) throws IOException, Malformed {
    contexts.forget(); // also by one that fails
    ContextQuery query = contextQuery(data);
    ServedExport export = find(header, query.export());
    if (export != null) {
      contexts.set(header, query, export);
    }
  }
}
