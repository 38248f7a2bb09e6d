package dev.imago.nbd;

import dev.imago.nbd.wire.Limits;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a server offers, and what it allows. Immutable: each method with an argument returns a
 * changed copy.
 */
public final class NbdServerOptions {
  /** Connections at once, unless said: 100. */
  public static final int CONNECTIONS = 100;

  /** Threads that do what has to wait for a disk, unless said: 16. */
  public static final int THREADS = 16;

  /** Requests of one connection at once: more are not read before some are answered. */
  public static final int REQUESTS = 64;

  /**
   * Bytes of memory for one connection's requests at once; a single one may have more, as far as
   * {@link #memory()} allows.
   */
  public static final int BYTES = Limits.PAYLOAD;

  /** Bytes of memory that each connection has of its own, at most. TLS takes 300 KiB beside it. */
  public static final int CONNECTION_MEMORY = 1 << 20;

  private static final Duration LONGEST = Duration.ofDays(36_500);

  private List<NbdExport> exports = List.of();
  private int connections = CONNECTIONS;
  private int threads = THREADS;
  private Duration handshake = Duration.ofSeconds(10);
  private Duration idle = Duration.ZERO;
  private Duration drain = Duration.ofSeconds(30);
  private long memory = Runtime.getRuntime().maxMemory() / 2;
  private boolean extendedHeaders;
  private @Nullable NbdTls tls;
  private System.@Nullable Logger log;

  private NbdServerOptions() {}

  private NbdServerOptions copy() {
    NbdServerOptions copy = new NbdServerOptions();
    copy.exports = exports;
    copy.connections = connections;
    copy.threads = threads;
    copy.handshake = handshake;
    copy.idle = idle;
    copy.drain = drain;
    copy.memory = memory;
    copy.extendedHeaders = extendedHeaders;
    copy.tls = tls;
    copy.log = log;
    return copy;
  }

  /** Offers one export. */
  public static NbdServerOptions of(NbdExport export) {
    return new NbdServerOptions().export(export);
  }

  /**
   * Offers one export more. The first one is also what clients get that ask for no name.
   *
   * @throws IllegalArgumentException if there is one of this name
   */
  public NbdServerOptions export(NbdExport export) {
    for (NbdExport other : exports) {
      if (other.name().equals(export.name())) {
        throw new IllegalArgumentException("two exports named '" + export.name() + "'");
      }
    }
    NbdServerOptions copy = copy();
    copy.exports = new ArrayList<>(exports);
    copy.exports.add(export);
    return copy;
  }

  /** What is offered, at least one. */
  public List<NbdExport> exports() {
    return List.copyOf(exports);
  }

  /**
   * How many clients may be connected at once, those in the handshake included; the others wait. If
   * it is 1, clients are told that they must not open a second connection.
   */
  public NbdServerOptions connections(int connections) {
    NbdServerOptions copy = copy();
    copy.connections = atLeastOne(connections, "connections");
    return copy;
  }

  /** How many clients may be connected at once. */
  public int connections() {
    return connections;
  }

  /**
   * How many threads do what has to wait for a disk. They are shared; besides them each connection
   * has one of its own that reads its requests, and one that does them.
   */
  public NbdServerOptions threads(int threads) {
    NbdServerOptions copy = copy();
    copy.threads = atLeastOne(threads, "threads");
    return copy;
  }

  /** How many threads do what has to wait for a disk. */
  public int threads() {
    return threads;
  }

  /** How long a client may take until it uses an export; 10 s unless said. */
  public NbdServerOptions handshakeTime(Duration handshake) {
    NbdServerOptions copy = copy();
    copy.handshake = bounded(handshake);
    return copy;
  }

  /** How long a client may take until it uses an export. */
  public Duration handshakeTime() {
    return handshake;
  }

  /**
   * How long a client may send no request while none is under way, and how long it may take nothing
   * of what it is sent; zero, the default: for ever.
   */
  public NbdServerOptions idleTime(Duration idle) {
    NbdServerOptions copy = copy();
    copy.idle = bounded(idle);
    return copy;
  }

  /** How long a client may send no request; zero for ever. */
  public Duration idleTime() {
    return idle;
  }

  /**
   * How long {@link NbdServer#close} waits for requests under way, and for clients to take their
   * replies; 30 s unless said.
   */
  public NbdServerOptions drainTime(Duration drain) {
    NbdServerOptions copy = copy();
    copy.drain = bounded(drain);
    return copy;
  }

  /** How long closing waits for requests under way. */
  public Duration drainTime() {
    return drain;
  }

  /**
   * How much memory the data of all clients' requests and replies may take together; half of the
   * heap's limit unless said, though it lies outside of the heap.
   *
   * <p>This is a promise: beside it a server takes {@link #CONNECTION_MEMORY} for each connection,
   * and keeps at most a quarter of it, or 64 MiB, in buffers that nobody uses. A client that finds
   * no memory left, because others do not take their replies, has its requests done one at a time
   * and in small pieces. So even 0 works, if slowly.
   *
   * @param bytes at least 0
   */
  public NbdServerOptions memory(long bytes) {
    if (bytes < 0) {
      throw new IllegalArgumentException("memory: " + bytes + " bytes; at least 0");
    }
    NbdServerOptions copy = copy();
    copy.memory = bytes;
    return copy;
  }

  /** How many bytes the data of all clients' requests and replies may take together. */
  public long memory() {
    return memory;
  }

  /**
   * Whether clients may ask for extended headers (64-bit lengths). Off unless said: they are made
   * from the protocol's text, and were not tried against another program.
   */
  public NbdServerOptions extendedHeaders(boolean extendedHeaders) {
    NbdServerOptions copy = copy();
    copy.extendedHeaders = extendedHeaders;
    return copy;
  }

  /** Whether clients may ask for extended headers. */
  public boolean extendedHeaders() {
    return extendedHeaders;
  }

  /** Lets in nobody but clients that use TLS; null, the default: TLS is not offered. */
  public NbdServerOptions tls(@Nullable NbdTls tls) {
    NbdServerOptions copy = copy();
    copy.tls = tls;
    return copy;
  }

  /** What TLS needs, or null. */
  public @Nullable NbdTls tls() {
    return tls;
  }

  /**
   * Where the server tells who comes, asks for what, and goes ({@code DEBUG}), and what failed
   * ({@code WARNING}); null, the default, is the system's logger {@code dev.imago.nbd}.
   */
  public NbdServerOptions log(System.@Nullable Logger log) {
    NbdServerOptions copy = copy();
    copy.log = log;
    return copy;
  }

  /** Where the server tells what happens, or null. */
  public System.@Nullable Logger log() {
    return log;
  }

  /** A hundred years are for ever, and can be counted in nanoseconds. */
  private static Duration bounded(Duration time) {
    return time.compareTo(LONGEST) > 0 ? LONGEST : time;
  }

  private static int atLeastOne(int number, String what) {
    if (number < 1) {
      throw new IllegalArgumentException(what + ": " + number + "; at least 1");
    }
    return number;
  }
}
