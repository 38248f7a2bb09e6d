package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.Request;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Reads the requests of one client. What needs no waiting is answered here, and the answers are
 * sent together when there is no further request at hand; everything else is left to the pool. For
 * the connection's own thread.
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

  Transmission(
      Connection connection,
      Agreement agreement,
      Incoming in,
      ByteBuffer batch,
      Outbox outbox,
      InFlight inFlight) {
    this.connection = connection;
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
    int header = style == ReplyStyle.EXTENDED ? Request.EXTENDED_BYTES : Request.BYTES;
    while (true) {
      if (!in.has(header)) {
        flush();
        if (!in.fill(header)) {
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

  private void flush() throws IOException {
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
    if (refusal != null) {
      in.skip(payload);
      refuse(request, refusal.error(), refusal.text());
      return;
    }
    switch (type) {
      case READ -> read(request);
      case WRITE -> write(request);
      case BLOCK_STATUS -> handOver(request, payload > 0 ? take((int) payload) : null);
      case null, default -> handOver(request, null);
    }
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
    try {
      switch (kind(request)) {
        case ZERO -> {
          style.chunk(batch, request, true, new Chunk.Hole(request.offset(), length));
          statistics.read(length);
          return;
        }
        case MIXED -> {
          handOver(request, null);
          return;
        }
        case DATA -> {}
      }
      style.beforeData(batch, request, request.offset(), length, true);
      batch.limit(batch.position() + length);
      if (export.readNow(batch, request.offset())) {
        batch.limit(limit);
        statistics.read(length);
        return;
      }
    } catch (IOException | RuntimeException e) {
      batch.limit(limit).position(start);
      refuse(request, connection.errorOf(request, e), Refusal.text(e));
      return;
    }
    batch.limit(limit).position(start);
    handOver(request, null);
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
    if (length > WHOLE) {
      stream(request);
      return;
    }
    boolean now = !request.has(CommandType.FUA) && length <= INLINE;
    if (now && in.has(length) && writesNow(request)) {
      ByteBuffer received = in.buffer();
      int end = received.position() + length;
      writeNow(request, received.slice(received.position(), length));
      received.position(end);
      return;
    }
    if (length == 0) {
      handOver(request, null);
      return;
    }
    Payloads.Payload payload = take(length);
    if (now && writesNow(request)) {
      writeNow(request, payload.buffer());
      payload.close();
    } else {
      handOver(request, payload);
    }
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
    } catch (IOException | RuntimeException e) {
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
    try {
      export.write(data, request.offset(), false);
      statistics.wrote(request.length());
      style.done(batch, request);
    } catch (IOException | RuntimeException e) {
      refuse(request, connection.errorOf(request, e), Refusal.text(e));
    }
  }

  /** Writes a long run piece by piece as it comes in. */
  private void stream(Request request) throws IOException {
    int length = (int) request.length();
    flush();
    Exception failure = null;
    try (Payloads.Payload piece = connection.server().payloads().take(INLINE)) {
      ByteBuffer data = piece.buffer();
      for (int done = 0; done < length; done += data.limit()) {
        in.read(data.clear().limit(Math.min(INLINE, length - done)));
        connection.active();
        if (failure == null) {
          failure = written(data.flip(), request.offset() + done);
        }
      }
    }
    if (failure == null && request.has(CommandType.FUA)) {
      failure = flushed();
    }
    if (failure != null) {
      refuse(request, connection.errorOf(request, failure), Refusal.text(failure));
    } else {
      statistics.wrote(length);
      style.done(batch, request);
    }
  }

  private @Nullable Exception written(ByteBuffer data, long offset) {
    try {
      export.write(data, offset, false);
      return null;
    } catch (IOException | RuntimeException e) {
      return e;
    }
  }

  private @Nullable Exception flushed() {
    try {
      export.flush();
      return null;
    } catch (IOException | RuntimeException e) {
      return e;
    }
  }

  /** Leaves a request to the pool, once there is room for it. */
  private void handOver(Request request, Payloads.@Nullable Payload payload) throws IOException {
    long charge =
        request.type() == CommandType.READ.code()
            ? request.length()
            : payload != null ? payload.buffer().capacity() : 0;
    if (!inFlight.tryEnter(charge)) {
      flush();
      inFlight.enter(charge);
    }
    connection.execute(new SlowRequest(connection, agreement, request, payload, charge));
  }
}
