package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.StatusExtent;
import dev.imago.nbd.wire.TransmissionFlags;
import dev.imago.storage.StorageIoException;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.locks.ReentrantLock;

/**
 * An export of an NBD server, with the commands that the protocol has. {@link NbdStorage} makes a
 * storage of it.
 *
 * <p>Safe for all threads; methods block, and requests of many threads are in flight together. An
 * interrupt ends nothing; the thread's status is kept. Offsets and lengths must be multiples of
 * {@link #minimumBlock()} and end within {@link #size()}, or an {@link IndexOutOfBoundsException}
 * or {@link IllegalArgumentException} says so; there is no other limit on a length: what is longer
 * than the server takes is cut into pieces.
 *
 * <p>A connection that is lost is made again, for as long as {@link NbdClientOptions#retry} says,
 * and what was not answered is sent again. Changes that were answered and not flushed may have been
 * lost with the server: {@link #flush} fails from then on. A request that the server refuses fails
 * with {@link StorageIoException}, everything else with {@link NbdException}.
 */
public final class NbdClient implements Closeable {
  /** The longest piece of a command without data: the protocol has 32 bits for it. */
  private static final long LONGEST = 1L << 30;

  /** A connection more is not worth waiting for long: some servers do not answer one too many. */
  private static final Duration ONE_MORE = Duration.ofSeconds(2);

  private final String name;
  private final Dialler dialler;
  private final NbdClientOptions options;
  private final Agreed agreed;
  private final Unflushed unflushed;
  private final List<Line> lines = new CopyOnWriteArrayList<>();

  /** Held by who makes another connection. */
  private final ReentrantLock growing = new ReentrantLock();

  private volatile boolean grown;
  private volatile boolean closed;

  private NbdClient(NbdUri uri, NbdClientOptions options) throws IOException {
    this.name = uri.toString();
    this.options = options;
    this.dialler = new Dialler(uri, options);
    this.unflushed = new Unflushed(name);
    ClientHandshake.Ready first = dialler.dial(options.timeout());
    this.agreed = first.agreed();
    this.grown = options.connections() == 1 || !agreed.has(TransmissionFlags.CAN_MULTI_CONN);
    lines.add(new Line(name, dialler, options, unflushed, first, this::giveUp));
  }

  /**
   * Connects to an export.
   *
   * @throws NbdException if there is no server, no such export, no agreement with it, or, under
   *     TLS, if either side does not trust the other
   */
  public static NbdClient connect(NbdUri uri, NbdClientOptions options) throws NbdException {
    try {
      return new NbdClient(uri, options);
    } catch (IOException e) {
      throw Dialler.failure(uri.toString(), e);
    }
  }

  /**
   * What a server has; the export that the URI names does not matter. A server tells of at most
   * 10,000 exports, in at most 16 Mi characters, or this fails.
   *
   * @throws NbdException as {@link #connect}; also if the server does not tell
   */
  public static List<NbdExportInfo> list(NbdUri uri, NbdClientOptions options) throws NbdException {
    try {
      return new Dialler(uri, options).list(options.timeout());
    } catch (IOException e) {
      throw Dialler.failure(uri.toString(), e);
    }
  }

  /** The export, as {@link NbdUri} writes it. */
  public String name() {
    return name;
  }

  /** The server's text about the export; may be empty. */
  public String description() {
    return agreed.description();
  }

  /** The export's size in bytes. It never changes. */
  public long size() {
    return agreed.size();
  }

  /** Whether the server refuses all changes. */
  public boolean readOnly() {
    return agreed.has(TransmissionFlags.READ_ONLY);
  }

  /** Requests are multiples of it: a power of two, 1 to 65536. */
  public int minimumBlock() {
    return agreed.minimum();
  }

  /** The block that the server likes best: a power of two, at least 512. */
  public int preferredBlock() {
    return agreed.preferred();
  }

  /** Whether {@link #writeZeroes} is there. */
  public boolean canWriteZeroes() {
    return agreed.offers(CommandType.WRITE_ZEROES);
  }

  /** Whether {@link #writeZeroes} can be told to fail rather than to be slow. */
  public boolean canZeroFast() {
    return agreed.has(TransmissionFlags.SEND_FAST_ZERO);
  }

  /** Whether {@link #trim} is there. */
  public boolean canTrim() {
    return agreed.offers(CommandType.TRIM);
  }

  /** Whether {@link #blockStatus} tells anything. */
  public boolean canTellStatus() {
    return agreed.offers(CommandType.BLOCK_STATUS);
  }

  /** Fills {@code dst} from its position to its limit. */
  public void read(ByteBuffer dst, long offset) throws IOException {
    check(offset, dst.remaining());
    long at = offset;
    while (dst.hasRemaining()) {
      int step = Math.min(dst.remaining(), agreed.maximum());
      perform(ClientRequest.read(dst.slice(dst.position(), step), at));
      dst.position(dst.position() + step);
      at += step;
    }
  }

  /**
   * Writes all that remains in the buffers, as one run of bytes.
   *
   * @param fua whether it must survive a power cut when this returns
   */
  public void write(ByteBuffer[] srcs, long offset, boolean fua) throws IOException {
    long length = 0;
    for (ByteBuffer src : srcs) {
      length += src.remaining();
    }
    check(offset, length);
    int flags = fuaFlag(fua);
    for (long done = 0; done < length; ) {
      int step = (int) Math.min(length - done, agreed.maximum());
      perform(ClientRequest.write(cut(srcs, step), flags, offset + done, step));
      done += step;
    }
    flushAfter(fua);
  }

  /** Takes the next bytes out of buffers, as views. */
  private static ByteBuffer[] cut(ByteBuffer[] srcs, int length) {
    List<ByteBuffer> parts = new ArrayList<>();
    int left = length;
    for (ByteBuffer src : srcs) {
      int step = Math.min(left, src.remaining());
      if (step > 0) {
        parts.add(src.slice(src.position(), step));
        src.position(src.position() + step);
        left -= step;
      }
    }
    return parts.toArray(new ByteBuffer[0]);
  }

  /**
   * Makes a range read as zero, if {@link #canWriteZeroes}.
   *
   * @param keepSpace whether the range must own its space afterwards; else it may become a hole
   * @param fast whether to fail with ENOTSUP if this would be as slow as writing; needs {@link
   *     #canZeroFast}
   * @param fua whether it must survive a power cut when this returns
   */
  public void writeZeroes(long offset, long length, boolean keepSpace, boolean fast, boolean fua)
      throws IOException {
    int flags =
        fuaFlag(fua) | (keepSpace ? CommandType.NO_HOLE : 0) | (fast ? CommandType.FAST_ZERO : 0);
    inPieces(CommandType.WRITE_ZEROES, flags, offset, length);
    flushAfter(fua);
  }

  /** Says that a range is not needed, if {@link #canTrim}: it may read as anything afterwards. */
  public void trim(long offset, long length) throws IOException {
    inPieces(CommandType.TRIM, 0, offset, length);
  }

  private void inPieces(CommandType type, int flags, long offset, long length) throws IOException {
    check(offset, length);
    for (long done = 0; done < length; ) {
      long step = Math.min(length - done, LONGEST);
      perform(ClientRequest.of(type, flags, offset + done, step));
      done += step;
    }
  }

  /** Without FUA a flush does the same, and more. */
  private int fuaFlag(boolean fua) {
    return fua && agreed.has(TransmissionFlags.SEND_FUA) ? CommandType.FUA : 0;
  }

  private void flushAfter(boolean fua) throws IOException {
    if (fua && !agreed.has(TransmissionFlags.SEND_FUA)) {
      flush();
    }
  }

  /**
   * Makes every change that was answered before survive a power cut. A server without FLUSH has
   * nothing that could be asked for: as with QEMU that is no error.
   *
   * @throws NbdException also if changes may have been lost with a connection; for ever then
   */
  public void flush() throws IOException {
    requireNothingLost();
    if (agreed.offers(CommandType.FLUSH)) {
      ClientRequest request = ClientRequest.of(CommandType.FLUSH, 0, 0, 0);
      request.covered = unflushed.answered();
      perform(request, oldest());
      // It may have been answered by a server that came after the one that had the changes.
      requireNothingLost();
    }
  }

  private void requireNothingLost() throws NbdException {
    NbdException lost = unflushed.failure();
    if (lost != null) {
      throw lost;
    }
  }

  /**
   * The line that a flush goes over: a newer one may go to a server that knows nothing of what was
   * answered on an older one, whose end has not been noticed yet.
   */
  private Line oldest() {
    Line oldest = lines.getFirst();
    ClientConnection connection = oldest.connection();
    for (Line each : lines) {
      ClientConnection other = each.connection();
      if (other.vouchesFor(connection)) {
        oldest = each;
        connection = other;
      }
    }
    return oldest;
  }

  /**
   * A run of the export of one kind.
   *
   * @param length in bytes, at least 1
   * @param hole whether the server keeps no space for it
   * @param zero whether it reads as zero
   */
  public record Status(long length, boolean hole, boolean zero) {}

  /**
   * What is kept from {@code offset} on, if {@link #canTellStatus}: at least one run, together at
   * most {@code length} bytes and maybe less.
   *
   * @param length at least 1
   */
  public List<Status> blockStatus(long offset, long length) throws IOException {
    check(offset, length);
    long asked = Math.min(length, LONGEST);
    ClientRequest request = ClientRequest.of(CommandType.BLOCK_STATUS, 0, offset, asked);
    perform(request);
    List<Status> runs = new ArrayList<>();
    long left = asked;
    for (StatusExtent extent : request.extents()) {
      long run = Math.min(left, extent.length());
      boolean hole = (extent.flags() & MetaContext.HOLE) != 0;
      runs.add(new Status(run, hole, (extent.flags() & MetaContext.ZERO) != 0));
      left -= run;
    }
    return runs;
  }

  private void check(long offset, long length) {
    Objects.checkFromIndexSize(offset, length, agreed.size());
    if (((offset | length) & (agreed.minimum() - 1)) != 0) {
      throw new IllegalArgumentException(
          "%s: %d bytes at %d are not in blocks of %d"
              .formatted(name, length, offset, agreed.minimum()));
    }
  }

  private void perform(ClientRequest request) throws IOException {
    perform(request, line());
  }

  private void perform(ClientRequest request, Line line) throws IOException {
    if (closed) {
      throw new IllegalStateException(name + " is closed");
    }
    if (!agreed.offers(request.type)) {
      throw new UnsupportedOperationException(name + ": the server offers no " + request.type);
    }
    line.perform(request);
    Chunk.Failed refusal = request.refusal();
    if (refusal != null) {
      throw refused(request, refusal);
    }
  }

  private StorageIoException refused(ClientRequest request, Chunk.Failed refusal) {
    String said = ReplyReader.said(refusal);
    return new StorageIoException(
        name,
        NbdError.of(refusal.error()).text(),
        "%s of %d bytes%s"
            .formatted(
                request.type,
                request.length,
                said.isEmpty() ? "" : ", refused with '%s',".formatted(said)),
        refusal.offset() >= 0 ? refusal.offset() : request.offset);
  }

  /** The line with the fewest requests; a new one if all have some and more are allowed. */
  private Line line() {
    Line best = lines.getFirst();
    int fewest = best.inFlight();
    for (int i = 1; i < lines.size() && fewest > 0; i++) {
      int inFlight = lines.get(i).inFlight();
      if (inFlight < fewest) {
        fewest = inFlight;
        best = lines.get(i);
      }
    }
    if (fewest > 0 && !grown && growing.tryLock()) {
      try {
        best = grow(best);
      } finally {
        growing.unlock();
      }
    }
    return best;
  }

  private Line grow(Line best) {
    if (grown || closed) {
      return best;
    }
    try {
      ClientHandshake.Ready ready = dialler.dial(ONE_MORE);
      if (!ready.agreed().sameAs(agreed)) {
        ready.transport().close();
        grown = true;
        return best;
      }
      Line line = new Line(name, dialler, options, unflushed, ready, this::giveUp);
      lines.add(line);
      line.giveUp(new IOException("while this one was made"));
      grown = lines.size() >= options.connections();
      return line;
    } catch (IOException e) {
      grown = true; // the ones that we have will do
      return best;
    }
  }

  /** A connection was lost: those of the same time are not waited for. */
  private void giveUp(IOException why) {
    lines.forEach(line -> line.giveUp(why));
  }

  /** Ends all connections. Does not flush. A second call does nothing. */
  @Override
  public void close() {
    growing.lock();
    try {
      if (!closed) {
        closed = true;
        lines.forEach(Line::close);
      }
    } finally {
      growing.unlock();
    }
  }
}
