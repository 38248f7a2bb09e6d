package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.StatusFilter;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Reads the requests of one client. What needs no waiting is answered here, and the answers are
 * sent together when there is no further request at hand; so is a flush, a short write or read of a
 * client that waits for each answer. Everything else is left to the pool. For the connection's own
 * thread.
 */
final class Transmission {
  /** Answers are collected up to this size. */
  static final int BATCH = 256 << 10;

  /** Room for answers; a power of two, so that no memory is taken for nothing. */
  static final int BATCH_ROOM = 2 * BATCH;

  /** Reads and writes up to this size may be done by the connection's own thread. */
  private static final int INLINE = BATCH;

  /** From this size on a read is looked at for being all zero. */
  private static final int HOLES = 32 << 10;

  /** Bytes of an extent in a reply to BLOCK_STATUS. */
  private static final int EXTENT = 16;

  /** Data of longer writes are not kept in memory as a whole. */
  private static final int WHOLE = 4 << 20;

  private final Connection connection;
  private final ServedExport export;
  private final ReplyStyle style;
  private final Agreement agreement;
  private final Incoming in;
  private final ByteBuffer batch;
  private final Outbox outbox;
  private final InFlight inFlight;
  private final ServerStatistics statistics;
  private final Lockstep lockstep = new Lockstep();
  private final Vigil vigil = new Vigil();
  private final Ahead ahead;

  /** Whether the request that was read last may be done here though that may take time. */
  private boolean waits;

  Transmission(
      Connection connection,
      Agreement agreement,
      Incoming in,
      ByteBuffer batch,
      Outbox outbox,
      InFlight inFlight) {
    this.connection = connection;
    this.ahead = new Ahead(connection);
    this.agreement = agreement;
    this.export = agreement.export();
    this.style = agreement.style();
    this.in = in;
    this.batch = batch.clear();
    this.outbox = outbox;
    this.inFlight = inFlight;
    this.statistics = connection.server().statistics();
  }

  /**
   * Serves until the client has said that it leaves, or has left. Requests may still be under way
   * then.
   *
   * @throws NbdProtocolException if the client broke the protocol
   */
  void run() throws IOException {
    try {
      serve();
    } finally {
      ahead.handOver();
    }
  }

  private void serve() throws IOException {
    int header = headerBytes();
    while (true) {
      if (!in.has(header)) {
        flush();
        if (!await(header)) {
          return;
        }
      }
      Request request =
          style == ReplyStyle.EXTENDED
              ? Request.parseExtended(in.buffer())
              : Request.parse(in.buffer());
      if (request.type() == CommandType.DISCONNECT.code()) {
        flush();
        return;
      }
      connection.active();
      serve(request);
      if (batch.position() >= BATCH) {
        flush();
      }
    }
  }

  private int headerBytes() {
    return style == ReplyStyle.EXTENDED ? Request.EXTENDED_BYTES : Request.BYTES;
  }

  /** Waits for a request's header; false if the client has left. */
  private boolean await(int header) throws IOException {
    long begun = System.nanoTime();
    // Who has something under way may be answered by others meanwhile.
    if (!in.has(1) && inFlight.requests() == 0) {
      vigil.keep(in);
    }
    boolean come = in.fill(header);
    vigil.ended(System.nanoTime() - begun);
    return come;
  }

  private void flush() throws IOException {
    ahead.handOver();
    if (batch.position() > 0) {
      outbox.sendAndWait(batch.flip());
      batch.clear();
    }
  }

  private void serve(Request request) throws IOException {
    long payload = payload(request);
    if (payload < 0 || payload > Limits.PAYLOAD) {
      throw new NbdProtocolException(
          "request with %s bytes of data; at most %d are allowed"
              .formatted(Long.toUnsignedString(payload), Limits.PAYLOAD));
    }
    CommandType type = CommandType.of(request.type());
    Refusal refusal = Refusal.of(request, type, agreement, connection.stopping());
    if (refusal == null && type == CommandType.BLOCK_STATUS && payload > mostOfFilter()) {
      refusal = new Refusal(NbdError.EINVAL, "the payload names more contexts than were chosen");
    }
    if (refusal != null) {
      if (payload > in.buffer().remaining()) {
        flush(); // the client may wait for answers before it sends more
      }
      in.skip(payload);
      refuse(request, refusal.error(), refusal.text());
      return;
    }
    waits = lockstep.met(in.buffer().remaining() <= payload && batch.position() == 0);
    switch (type) {
      case READ -> read(request);
      case WRITE -> write(request);
      case FLUSH -> flush(request);
      case BLOCK_STATUS -> handOver(request, payload > 0 ? take((int) payload) : null);
      case null, default -> handOver(request, null);
    }
  }

  /** A BLOCK_STATUS can name each chosen context once. */
  private int mostOfFilter() {
    return StatusFilter.bytes(agreement.contexts().size());
  }

  /** How many bytes follow the request. */
  private long payload(Request request) {
    boolean follows =
        style == ReplyStyle.EXTENDED
            ? request.has(CommandType.PAYLOAD_LEN)
            : request.type() == CommandType.WRITE.code();
    return follows ? request.length() : 0;
  }

  private void refuse(Request request, NbdError error, String text) throws IOException {
    room(ReplyStyle.ROOM);
    statistics.failed();
    style.failed(batch, request, error, text);
  }

  private void room(int bytes) throws IOException {
    if (batch.remaining() < bytes) {
      flush();
    }
  }

  private void read(Request request) throws IOException {
    int length = (int) request.length();
    room(ReplyStyle.ROOM + Math.min(length, INLINE));
    if (length == 0) {
      style.doneReading(batch, request);
      return;
    }
    if (length > INLINE) {
      handOver(request, null);
      return;
    }
    int start = batch.position();
    int limit = batch.limit();
    boolean done;
    try {
      done = readsNow(request, length);
    } catch (IOException | RuntimeException e) {
      batch.limit(limit).position(start);
      refuse(request, connection.errorOf(request, e), Refusal.text(e));
      return;
    }
    batch.limit(limit);
    if (done) {
      statistics.read(length);
    } else {
      batch.position(start);
      if (!goesAhead(request)) {
        handOver(request, null);
      }
    }
  }

  /** Has the disk begin with a READ that is one of several. */
  private boolean goesAhead(Request request) throws IOException {
    boolean several = !ahead.isEmpty() || in.has(headerBytes());
    if (!several || !prefetch(request)) {
      return false;
    }
    long charge = charge(request, null);
    if (!inFlight.tryEnter(charge)) {
      return false;
    }
    lockstep.handedOver();
    ahead.add(new SlowRequest(connection, agreement, lockstep, request, null, charge, false));
    return true;
  }

  private boolean prefetch(Request request) {
    try {
      return export.prefetch(request.offset(), request.length());
    } catch (IOException | RuntimeException e) {
      return false; // the pool meets it, too, and tells
    }
  }

  /** Answers a READ if that needs no waiting; if not, the batch may be left with half an answer. */
  private boolean readsNow(Request request, int length) throws IOException {
    switch (kind(request)) {
      case ZERO -> {
        style.chunk(batch, request, true, new Chunk.Hole(request.offset(), length));
        return true;
      }
      case MIXED -> {
        return false;
      }
      case DATA -> {}
    }
    style.beforeData(batch, request, request.offset(), length, true);
    batch.limit(batch.position() + length);
    if (!export.readNow(batch, request.offset())) {
      if (!waits) {
        return false;
      }
      waiting(() -> export.read(batch, request.offset()));
    }
    return true;
  }

  /** Something that takes time. */
  private interface Step {
    void run() throws IOException;
  }

  /** Does something that takes time, and looks whether the client has waited for it. */
  private void waiting(Step step) throws IOException {
    // It has nothing else under way, so that there is room.
    inFlight.enter(0);
    try {
      step.run();
    } finally {
      inFlight.leave(0);
    }
    // Before it is answered: after that it may send its next one.
    if (moreHasCome()) {
      lockstep.broken();
    }
  }

  private boolean moreHasCome() {
    try {
      return in.more(0);
    } catch (IOException e) {
      return true; // who reads next meets it, too
    }
  }

  private void flush(Request request) throws IOException {
    if (!waits) {
      handOver(request, null);
      return;
    }
    room(ReplyStyle.ROOM);
    answer(request, () -> waiting(export::flush));
  }

  /** Does something, and says that it is done, or why not. */
  private void answer(Request request, Step step) throws IOException {
    try {
      step.run();
    } catch (IOException | RuntimeException e) {
      refuse(request, connection.errorOf(request, e), Refusal.text(e));
      return;
    }
    style.done(batch, request);
  }

  /** What there is to be read; all is data where it does not matter. */
  private ServedExport.Kind kind(Request request) throws IOException {
    boolean matters = request.length() >= HOLES && style.chunked() && !request.has(CommandType.DF);
    return matters
        ? export.kind(request.offset(), request.length(), SlowRequest.HOLE)
        : ServedExport.Kind.DATA;
  }

  private void write(Request request) throws IOException {
    int length = (int) request.length();
    room(ReplyStyle.ROOM);
    if (length > INLINE) {
      longWrite(request);
      return;
    }
    if (length == 0) {
      handOver(request, null);
      return;
    }
    boolean now = waits || !request.has(CommandType.FUA) && writesNow(request);
    if (now && in.has(length)) {
      ByteBuffer received = in.buffer();
      ByteBuffer data = received.slice(received.position(), length);
      received.position(received.position() + length);
      writeNow(request, data);
      return;
    }
    Payloads.Payload payload = take(length);
    if (now) {
      try (payload) {
        writeNow(request, payload.buffer());
      }
    } else {
      handOver(request, payload);
    }
  }

  /** Leaves it to the pool if there is memory for its data. */
  private void longWrite(Request request) throws IOException {
    long charge = Payloads.capacity((int) request.length());
    if (request.length() > WHOLE || !inFlight.tryEnter(charge)) {
      stream(request);
      return;
    }
    Payloads.Payload payload;
    try {
      payload = take((int) request.length());
    } catch (IOException | RuntimeException | Error e) {
      inFlight.leave(charge);
      throw e;
    }
    execute(request, payload, charge);
  }

  /** Receives the data of a request. */
  private Payloads.Payload take(int length) throws IOException {
    Payloads.Payload payload = connection.server().payloads().take(length);
    try {
      if (!in.has(length)) {
        flush(); // the client may wait for answers before it sends more
      }
      in.read(payload.buffer());
      payload.buffer().flip();
      return payload;
    } catch (IOException | RuntimeException | Error e) {
      payload.close();
      throw e;
    }
  }

  private boolean writesNow(Request request) {
    try {
      return export.writesNow(request.offset(), (int) request.length());
    } catch (IOException | RuntimeException e) {
      return false; // the pool meets it, too, and tells
    }
  }

  private void writeNow(Request request, ByteBuffer data) throws IOException {
    boolean fua = request.has(CommandType.FUA) || export.writeThrough();
    answer(
        request,
        () -> {
          if (waits && (fua || !writesNow(request))) {
            waiting(() -> export.write(data, request.offset(), fua));
            export.lookForCache(request.offset());
          } else {
            export.write(data, request.offset(), false);
          }
          statistics.wrote(request.length());
        });
  }

  /** Writes a long run piece by piece as it comes in. */
  private void stream(Request request) throws IOException {
    flush();
    Exception failure = new LongWrite(connection, export, in).run(request);
    if (failure != null) {
      refuse(request, connection.errorOf(request, failure), Refusal.text(failure));
    } else {
      statistics.wrote(request.length());
      style.done(batch, request);
    }
  }

  /** Leaves a request and its payload to the pool, once there is room for it. */
  private void handOver(Request request, Payloads.@Nullable Payload payload) throws IOException {
    long charge = charge(request, payload);
    boolean entered;
    try {
      entered = inFlight.tryEnter(charge);
      if (!entered) {
        flush();
        entered = inFlight.enter(charge);
      }
    } catch (IOException | RuntimeException | Error e) {
      if (payload != null) {
        payload.close();
      }
      throw e;
    }
    if (entered) {
      execute(request, payload, charge);
    } else {
      // Nothing else of this client is under way: there is room for what takes no memory.
      inFlight.enter(0);
      lockstep.handedOver();
      new SlowRequest(connection, agreement, lockstep, request, payload, 0, true).run();
    }
  }

  /** Leaves a request that was counted in to the pool. */
  private void execute(Request request, Payloads.@Nullable Payload payload, long charge) {
    boolean given = false;
    try {
      lockstep.handedOver();
      connection.execute(
          new SlowRequest(connection, agreement, lockstep, request, payload, charge, false));
      given = true;
    } finally {
      if (!given) {
        inFlight.leave(charge);
        if (payload != null) {
          payload.close();
        }
      }
    }
  }

  /** Bytes of memory that a request and its reply have at most. */
  private long charge(Request request, Payloads.@Nullable Payload payload) {
    if (request.type() == CommandType.READ.code()) {
      // A buffer is less than twice as long as what it is for.
      boolean whole = !style.chunked() || request.has(CommandType.DF);
      return whole ? Payloads.capacity((int) request.length()) : 2 * request.length();
    }
    if (request.type() == CommandType.CACHE.code()) {
      return SlowRequest.PIECE;
    }
    if (request.type() == CommandType.BLOCK_STATUS.code()) {
      boolean one = request.has(CommandType.REQ_ONE);
      return (long) agreement.contexts().size() * (one ? 1 : SlowRequest.MAX_EXTENTS) * EXTENT;
    }
    return payload != null ? Payloads.capacity(payload.buffer().capacity()) : 0;
  }
}
