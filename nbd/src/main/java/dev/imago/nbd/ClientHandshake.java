package dev.imago.nbd;

import dev.imago.nbd.wire.ContextQuery;
import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.ExportQuery;
import dev.imago.nbd.wire.Greeting;
import dev.imago.nbd.wire.ListedExport;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The handshake as a client has it with a server, from the greeting on. By one thread, before
 * anybody else uses the connection; one option at a time.
 */
final class ClientHandshake {
  private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

  /** How many characters all texts of a list of exports may have. */
  private static final int MAX_LISTED = 16 << 20;

  private final OptionStream options;

  private long listed;

  /** Whether EXPORT_NAME is answered without 124 zeroes. */
  private boolean noZeroes;

  private ClientHandshake(PlainTransport socket) {
    this.options = new OptionStream(socket);
  }

  /**
   * A connection that is ready for requests.
   *
   * @param transport to be used
   * @param socket below it, or the same
   */
  record Ready(Transport transport, PlainTransport socket, Agreed agreed) {}

  /** What one INFO or GO told, until it is over. */
  private static final class Told {
    ExportInfo.@Nullable Export export;
    ExportInfo.@Nullable BlockSize blocks;
    String description = "";
  }

  /**
   * Comes to terms with a server over an export.
   *
   * @param socket just connected; belongs to the caller if this fails
   * @param tls how to use TLS, or null to talk in clear
   * @param hostname whom the server's certificate must be for, or null
   */
  static Ready use(
      PlainTransport socket, String export, @Nullable NbdTls tls, @Nullable String hostname)
      throws IOException {
    ClientHandshake handshake = new ClientHandshake(socket);
    try {
      handshake.begin(tls, hostname);
      Agreed agreed = handshake.go(export);
      handshake.options.requireNothingMore("before any request");
      return new Ready(handshake.options.transport(), socket, agreed);
    } catch (OptionStream.RefusedException e) {
      handshake.leave(e);
      throw e;
    }
  }

  /** Says goodbye to a server with which there is no agreement. */
  private void leave(IOException why) {
    try {
      options.send(OptionType.ABORT, NOTHING);
    } catch (IOException e) {
      why.addSuppressed(e);
    }
  }

  /** What a server has; then it is left. */
  static List<NbdExportInfo> list(
      PlainTransport socket, @Nullable NbdTls tls, @Nullable String hostname) throws IOException {
    ClientHandshake handshake = new ClientHandshake(socket);
    handshake.begin(tls, hostname);
    List<NbdExportInfo> exports = handshake.list();
    handshake.options.send(OptionType.ABORT, NOTHING);
    return exports;
  }

  private void begin(@Nullable NbdTls tls, @Nullable String hostname) throws IOException {
    Greeting greeting;
    try {
      greeting = Greeting.parse(options.read(Greeting.BYTES));
    } catch (EOFException e) {
      throw new IOException("The server has closed the connection without a word", e);
    }
    if ((greeting.flags() & Greeting.FIXED_NEWSTYLE) == 0) {
      throw new NbdProtocolException(
          "greeting: flags 0x%x; servers without fixed newstyle (bit 0) are not supported"
              .formatted(greeting.flags()));
    }
    noZeroes = (greeting.flags() & Greeting.NO_ZEROES) != 0;
    int flags = Greeting.FIXED_NEWSTYLE | (noZeroes ? Greeting.NO_ZEROES : 0);
    options.write(ByteBuffer.allocate(Greeting.CLIENT_FLAGS_BYTES).putInt(0, flags));
    if (tls != null) {
      require(OptionType.STARTTLS, NOTHING);
      options.startTls(tls.clientEngine(hostname));
    }
  }

  /** Sends an option that the server has to agree to. */
  private void require(OptionType option, ByteBuffer data) throws IOException {
    OptionStream.Refusal refusal = options.ask(option, data, (type, reply) -> {});
    if (refusal != null) {
      throw refusal.toException(option);
    }
  }

  private boolean structuredReplies() throws IOException {
    return options.ask(OptionType.STRUCTURED_REPLY, NOTHING, (type, reply) -> {}) == null;
  }

  private Agreed go(String export) throws IOException {
    boolean structured = structuredReplies();
    Integer allocation = structured ? selectAllocation(export) : null;
    Told told = new Told();
    OptionStream.Refusal refusal =
        options.ask(
            OptionType.GO,
            query(export, List.of(ExportInfo.DESCRIPTION, ExportInfo.BLOCK_SIZE)),
            (type, reply) -> take(told, type, reply));
    ExportInfo.Export found = told.export;
    if (refusal != null && refusal.type() == OptionReplyType.ERR_UNSUP) {
      found = exportName(export);
    } else if (refusal != null) {
      throw refusal.toException(OptionType.GO);
    } else if (found == null) {
      throw new NbdProtocolException("reply to GO: size and flags of the export are missing");
    }
    return Agreed.of(found, told.blocks, structured, allocation, told.description);
  }

  /** The id by which the server will tell what is allocated, or null if it will not. */
  private @Nullable Integer selectAllocation(String export) throws IOException {
    ContextQuery query = new ContextQuery(export, List.of(MetaContext.ALLOCATION));
    ByteBuffer data = ByteBuffer.allocate(query.bytes());
    query.write(data);
    List<MetaContext> selected = new ArrayList<>();
    OptionStream.Refusal refusal =
        options.ask(
            OptionType.SET_META_CONTEXT,
            data.flip(),
            (type, reply) -> {
              requireType(OptionReplyType.META_CONTEXT, type, OptionType.SET_META_CONTEXT);
              MetaContext context = MetaContext.parse(reply);
              if (context.name().equals(MetaContext.ALLOCATION)) {
                selected.add(context);
              }
            });
    if (selected.size() > 1) {
      throw new NbdProtocolException(
          "meta context %s: selected %d times".formatted(MetaContext.ALLOCATION, selected.size()));
    }
    return refusal != null || selected.isEmpty() ? null : selected.getFirst().id();
  }

  private static void take(Told told, OptionReplyType type, ByteBuffer reply)
      throws NbdProtocolException {
    requireType(OptionReplyType.INFO, type, OptionType.INFO);
    switch (ExportInfo.parse(reply)) {
      case ExportInfo.Export e -> told.export = e;
      case ExportInfo.BlockSize b -> told.blocks = b;
      case ExportInfo.Description d -> told.description = d.text();
      case ExportInfo.Name _, ExportInfo.Other _ -> {
        // Nothing that we would do otherwise for it.
      }
    }
  }

  private static void requireType(
      OptionReplyType wanted, @Nullable OptionReplyType found, OptionType option)
      throws NbdProtocolException {
    if (found != wanted) {
      throw new NbdProtocolException("reply to %s: %s, not %s".formatted(option, found, wanted));
    }
  }

  private static ByteBuffer query(String export, List<Integer> types) {
    ExportQuery query = new ExportQuery(export, types);
    ByteBuffer data = ByteBuffer.allocate(query.bytes());
    query.write(data);
    return data.flip();
  }

  /** The way of servers that do not know GO; one that has no such export can only hang up. */
  private ExportInfo.Export exportName(String export) throws IOException {
    byte[] name = export.getBytes(StandardCharsets.UTF_8);
    options.send(OptionType.EXPORT_NAME, ByteBuffer.wrap(name));
    ByteBuffer answer;
    try {
      answer = options.read(noZeroes ? 10 : 134);
    } catch (EOFException e) {
      throw new IOException(
          "Requested export not available: the server has closed the connection", e);
    }
    ByteBuffer info = ByteBuffer.allocate(12).putShort((short) ExportInfo.EXPORT);
    info.put(answer.limit(answer.position() + 10)).flip();
    return (ExportInfo.Export) ExportInfo.parse(info);
  }

  private List<NbdExportInfo> list() throws IOException {
    List<ListedExport> all = new ArrayList<>();
    OptionStream.Refusal refusal =
        options.ask(
            OptionType.LIST,
            NOTHING,
            (type, reply) -> {
              requireType(OptionReplyType.SERVER, type, OptionType.LIST);
              ListedExport export = ListedExport.parse(reply);
              count(export.name());
              count(export.description());
              all.add(export);
            });
    if (refusal != null) {
      throw refusal.toException(OptionType.LIST);
    }
    boolean structured = structuredReplies();
    List<NbdExportInfo> exports = new ArrayList<>();
    for (ListedExport each : all) {
      exports.add(info(each, structured));
    }
    return exports;
  }

  private NbdExportInfo info(ListedExport export, boolean structured) throws IOException {
    Told told = new Told();
    told.description = export.description();
    OptionStream.Refusal refusal =
        options.ask(
            OptionType.INFO,
            query(
                export.name(),
                List.of(ExportInfo.NAME, ExportInfo.DESCRIPTION, ExportInfo.BLOCK_SIZE)),
            (type, reply) -> take(told, type, reply));
    List<String> contexts = refusal == null && structured ? contexts(export.name()) : List.of();
    count(told.description);
    ExportInfo.Export found = refusal == null ? told.export : null;
    ExportInfo.BlockSize blocks = refusal == null ? told.blocks : null;
    return new NbdExportInfo(
        export.name(),
        told.description,
        found == null ? -1 : found.size(),
        found == null ? 0 : found.flags(),
        blocks == null ? 0 : blocks.minimum(),
        blocks == null ? 0 : blocks.preferred(),
        blocks == null ? 0 : blocks.maximum(),
        contexts);
  }

  private List<String> contexts(String export) throws IOException {
    ContextQuery query = new ContextQuery(export, List.of());
    ByteBuffer data = ByteBuffer.allocate(query.bytes());
    query.write(data);
    List<String> names = new ArrayList<>();
    options.ask(
        OptionType.LIST_META_CONTEXT,
        data.flip(),
        (type, reply) -> {
          requireType(OptionReplyType.META_CONTEXT, type, OptionType.LIST_META_CONTEXT);
          String name = MetaContext.parse(reply).name();
          count(name);
          names.add(name);
        });
    return names;
  }

  /** Each text is short; all of them together need not be. */
  private void count(String text) throws NbdProtocolException {
    listed += text.length();
    if (listed > MAX_LISTED) {
      throw new NbdProtocolException(
          "list of exports: its texts have more than %d characters".formatted(MAX_LISTED));
    }
  }
}
