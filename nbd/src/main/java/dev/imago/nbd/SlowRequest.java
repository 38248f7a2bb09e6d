package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.nbd.wire.StatusFilter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * A request that may have to wait for a disk: done by a thread of the pool, which puts the reply
 * into the connection's outbox. Or, if there is no memory for that, by the connection's own thread,
 * in small pieces, each of which is sent before the next one is made.
 */
final class SlowRequest implements Runnable {
  /** Data of a READ are read in such pieces where the reply may have several. */
  static final int PIECE = 1 << 20;

  /** And in such where there is no memory. */
  private static final int SMALL_PIECE = 128 << 10;

  /** A run of zeroes inside a READ is told, not sent, from this length on. */
  static final int HOLE = 4096;

  /** Extents of one context in one reply; the client asks again for the rest. */
  static final int MAX_EXTENTS = 1 << 16;

  /** And where there is no memory. */
  private static final int FEW_EXTENTS = 1 << 12;

  /** So many look-ups for one context in one reply. */
  static final int MAX_LOOKUPS = 1 << 17;

  /** A client's hint to read ahead is followed so far. */
  private static final int MAX_CACHE = Limits.PAYLOAD;

  private final Connection connection;
  private final Agreement agreement;
  private final Lockstep lockstep;
  private final ServedExport export;
  private final ReplyStyle style;
  private final Request request;
  private final Payloads.@Nullable Payload payload;

  /** What counts as under way: the request itself, and pieces of its reply that wait. */
  private final AtomicInteger pieces = new AtomicInteger(1);

  private final long charge;

  /** Whether the last of its reply was on its way, or there will be none. */
  private boolean answered;

  /** Whether it has to do with little memory, and is all that this connection has under way. */
  private final boolean alone;

  /**
   * Takes over the payload; the request was counted in.
   *
   * @param charge bytes of memory that were counted
   * @param alone whether there is no memory; to be run by the connection's own thread then
   */
  SlowRequest(
      Connection connection,
      Agreement agreement,
      Lockstep lockstep,
      Request request,
      Payloads.@Nullable Payload payload,
      long charge,
      boolean alone) {
    this.connection = connection;
    this.agreement = agreement;
    this.lockstep = lockstep;
    this.export = agreement.export();
    this.style = agreement.style();
    this.request = request;
    this.payload = payload;
    this.charge = charge;
    this.alone = alone;
  }

  @Override
  public void run() {
    try {
      if (!connection.broken() || isChange()) {
        answer();
      }
    } catch (IOException | RuntimeException | OutOfMemoryError e) {
      if (!connection.broken()) {
        tellOf(e);
      }
    } catch (Throwable e) {
      connection.giveUp(e);
    } finally {
      if (payload != null) {
        payload.close();
      }
      answered();
      pieceDone();
    }
  }

  /** It will not be run. */
  void dropped() {
    if (payload != null) {
      payload.close();
    }
    answered();
    pieceDone();
  }

  private int mostOfPiece() {
    return alone ? SMALL_PIECE : PIECE;
  }

  /** Before the client can know it. */
  private void answered() {
    if (!answered) {
      answered = true;
      lockstep.answered();
    }
  }

  private void tellOf(Throwable failure) {
    try {
      fail(connection.errorOf(request, failure), Refusal.text(failure));
    } catch (Throwable e) {
      connection.giveUp(e);
    }
  }

  /** What a client that has gone wanted done is done; what it wanted to know is not. */
  private boolean isChange() {
    return request.type() != CommandType.READ.code()
        && request.type() != CommandType.BLOCK_STATUS.code()
        && request.type() != CommandType.CACHE.code();
  }

  private void pieceDone() {
    if (pieces.decrementAndGet() == 0) {
      connection.left(charge);
    }
  }

  private void answer() throws IOException {
    CommandType type = CommandType.of(request.type());
    boolean fua = request.has(CommandType.FUA) || export.writeThrough();
    long length = request.length();
    switch (type) {
      case READ -> {
        read();
        return;
      }
      case BLOCK_STATUS -> {
        status();
        return;
      }
      case WRITE -> {
        if (payload != null) {
          export.write(payload.buffer(), request.offset(), fua);
          export.lookForCache(request.offset());
          connection.server().statistics().wrote(length);
        }
      }
      case FLUSH -> export.flush();
      case TRIM -> {
        export.discard(request.offset(), length);
        if (fua) {
          export.flush();
        }
      }
      case WRITE_ZEROES -> {
        boolean mayUnmap = !request.has(CommandType.NO_HOLE);
        if (request.has(CommandType.FAST_ZERO)
            && length > 0
            && !export.zeroesFast(request.offset(), length, mayUnmap)) {
          fail(NbdError.ENOTSUP, NbdError.ENOTSUP.text());
          return;
        }
        export.writeZeroes(request.offset(), length, mayUnmap, fua);
      }
      case CACHE -> cache();
      case null, default -> throw new IllegalStateException("request type " + request.type());
    }
    ByteBuffer out = ByteBuffer.allocate(ReplyStyle.ROOM);
    style.done(out, request);
    answered();
    send(null, out.flip());
  }

  private void fail(NbdError error, String text) throws IOException {
    connection.server().statistics().failed();
    ByteBuffer out = ByteBuffer.allocate(ReplyStyle.ROOM);
    style.failed(out, request, error, text);
    answered();
    send(null, out.flip());
  }

  private void send(Payloads.@Nullable Payload data, ByteBuffer... parts) throws IOException {
    if (alone) {
      try (data) {
        connection.outbox().sendAndWait(parts);
      }
      connection.active();
      return;
    }
    Outbox.Parcel parcel =
        new Outbox.Parcel(
            List.of(parts),
            () -> {
              if (data != null) {
                data.close();
              }
              pieceDone();
            });
    pieces.incrementAndGet();
    connection.outbox().send(parcel);
  }

  private void read() throws IOException {
    int length = (int) request.length();
    if (alone && (!style.chunked() || request.has(CommandType.DF))) {
      readInPieces(length);
    } else if (!style.chunked() || request.has(CommandType.DF)) {
      readPiece(request.offset(), length, true);
    } else {
      long end = request.offset() + length;
      for (long at = request.offset(); at < end; ) {
        long left = end - at;
        long zero = export.zeroRun(at, left);
        if (zero >= HOLE || zero == left) {
          hole(at, zero, zero == left);
          at += zero;
        } else {
          int data = dataRun(at, Math.abs(zero), left);
          readPiece(at, data, data == left);
          at += data;
        }
      }
    }
    connection.server().statistics().read(length);
    export.lookForCache(request.offset());
  }

  /** How far data go on, short runs of zeroes among them; at most a piece. */
  private int dataRun(long at, long first, long left) throws IOException {
    long most = Math.min(left, mostOfPiece());
    long run = Math.min(first, most);
    while (run < most) {
      long next = export.zeroRun(at + run, most - run);
      if (next >= HOLE) {
        break;
      }
      run += Math.abs(next);
    }
    return (int) run;
  }

  private void hole(long offset, long length, boolean last) throws IOException {
    ByteBuffer out = ByteBuffer.allocate(ReplyStyle.ROOM);
    style.chunk(out, request, last, new Chunk.Hole(offset, length));
    send(null, out.flip());
  }

  private void readPiece(long offset, int length, boolean last) throws IOException {
    Payloads.Payload data = connection.server().payloads().take(length);
    try {
      export.read(data.buffer(), offset);
    } catch (IOException | RuntimeException | Error e) {
      data.close();
      throw e;
    }
    ByteBuffer out = ByteBuffer.allocate(64);
    style.beforeData(out, request, offset, length, last);
    if (last) {
      answered();
    }
    send(data, out.flip(), data.buffer().flip());
  }

  /**
   * A reply with all data in one, sent in pieces all the same: nothing comes in between, as nobody
   * else has anything to say to this client. A failure behind the first can only be told by hanging
   * up.
   */
  private void readInPieces(int length) throws IOException {
    ByteBuffer out = ByteBuffer.allocate(64);
    style.beforeData(out, request, request.offset(), length, true);
    out.flip();
    try (Payloads.Payload data = connection.server().payloads().take(SMALL_PIECE)) {
      for (int done = 0; done < length; ) {
        ByteBuffer piece = data.buffer().clear().limit(Math.min(SMALL_PIECE, length - done));
        try {
          export.read(piece, request.offset() + done);
        } catch (IOException | RuntimeException e) {
          if (done == 0) {
            throw e;
          }
          connection.hangUp(request, e);
          return;
        }
        done += piece.flip().limit();
        send(null, out, piece);
      }
    }
  }

  private void cache() throws IOException {
    long end = request.offset() + Math.min(request.length(), MAX_CACHE);
    try (Payloads.Payload scratch = connection.server().payloads().take(mostOfPiece())) {
      for (long at = request.offset(); at < end; ) {
        ByteBuffer piece = scratch.buffer().clear().limit((int) Math.min(mostOfPiece(), end - at));
        at += piece.limit();
        export.read(piece, at - piece.limit());
      }
    }
  }

  private void status() throws IOException {
    long length = request.length();
    List<Integer> wanted = new ArrayList<>();
    if (payload != null) {
      StatusFilter filter;
      try {
        filter = StatusFilter.parse(payload.buffer());
      } catch (NbdProtocolException e) {
        fail(NbdError.EINVAL, "the payload makes no sense");
        return;
      }
      length = filter.length();
      wanted = filter.contexts();
      boolean known = wanted.stream().allMatch(id -> id >= 0 && id < agreement.contexts().size());
      if (!known || wanted.isEmpty() || new HashSet<>(wanted).size() < wanted.size()) {
        fail(NbdError.EINVAL, "the payload names contexts that were not chosen, or none");
        return;
      }
      if (length <= 0 || length > export.size() - request.offset()) {
        fail(NbdError.EINVAL, "operation past EOF");
        return;
      }
    } else {
      for (int id = 0; id < agreement.contexts().size(); id++) {
        wanted.add(id);
      }
    }
    for (int i = 0; i < wanted.size(); i++) {
      int id = wanted.get(i);
      List<StatusExtent> extents = extents(agreement.contexts().get(id).fresh(), length);
      Chunk.Status status = new Chunk.Status(id, extents, style == ReplyStyle.EXTENDED);
      ByteBuffer out = ByteBuffer.allocate(64 + status.bytes());
      style.chunk(out, request, i == wanted.size() - 1, status);
      send(null, out.flip());
    }
  }

  private List<StatusExtent> extents(StatusSource source, long length) throws IOException {
    int most = request.has(CommandType.REQ_ONE) ? 1 : alone ? FEW_EXTENTS : MAX_EXTENTS;
    List<StatusExtent> extents = new ArrayList<>();
    long run = 0;
    long flags = 0;
    int lookups = 0;
    for (long at = 0; at < length && lookups < MAX_LOOKUPS; lookups++) {
      StatusExtent next = source.at(request.offset() + at, length - at);
      if (run > 0 && next.flags() != flags) {
        extents.add(new StatusExtent(run, flags));
        if (extents.size() == most) {
          return extents;
        }
        run = 0;
      }
      flags = next.flags();
      run += next.length();
      at += next.length();
    }
    extents.add(new StatusExtent(run, flags));
    return extents;
  }
}
