package dev.imago.nbd;

import dev.imago.image.Image;
import java.io.Closeable;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Serves images to NBD clients, over TCP or a Unix socket.
 *
 * <p>Everybody who can connect may read, and write what is exported for writing, unless the options
 * have TLS with client certificates; see docs/nbd.md.
 *
 * <p>All methods may be called by any thread. The server's own threads are daemons.
 */
public final class NbdServer implements Closeable {
  /** How often it is looked for clients that take too long, in milliseconds. */
  private static final long WATCH = 250;

  /** How long a failed accept is not tried again, in milliseconds: there are no descriptors. */
  private static final long PAUSE = 100;

  /** How long closing waits for what is under way in an image, after all were cut off. */
  private static final Duration STUCK = Duration.ofMinutes(2);

  private static final AtomicLong NUMBERS = new AtomicLong();

  private final NbdServerOptions options;
  private final Map<String, ServedExport> exports = new LinkedHashMap<>();
  private final ServedExport defaultExport;
  private final ServerSocketChannel listening;
  private final @Nullable Path socketFile;
  private final SocketAddress address;
  private final ServerStatistics statistics = new ServerStatistics(this);
  private final Payloads payloads;
  private final Budget budget;
  private final ThreadPoolExecutor pool;
  private final Turns turns;
  private final System.Logger log;
  private final Thread accepting = thread("imago-nbd-accept", this::accept);
  private final Thread watching = thread("imago-nbd-watch", this::watch);

  /** Guarded by this object's monitor, as what follows. */
  private final Set<Connection> connections = new LinkedHashSet<>();

  private boolean served;
  private boolean closed;

  /** What could not be made durable at the end, or null. */
  private @Nullable IOException lost;

  private volatile boolean stopping;

  private NbdServer(
      ServerSocketChannel listening, @Nullable Path socketFile, NbdServerOptions options)
      throws IOException {
    this.options = options;
    this.payloads = new Payloads(Math.min(Payloads.KEPT, options.memory() / 4));
    this.budget = new Budget(options.memory());
    this.listening = listening;
    this.socketFile = socketFile;
    this.address = listening.getLocalAddress();
    for (NbdExport export : options.exports()) {
      exports.put(export.name(), new ServedExport(export));
    }
    this.defaultExport = exports.values().iterator().next();
    System.Logger given = options.log();
    this.log = given != null ? given : System.getLogger("dev.imago.nbd");
    this.pool =
        new ThreadPoolExecutor(
            options.threads(),
            options.threads(),
            10,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(),
            work -> thread("imago-nbd-" + NUMBERS.incrementAndGet(), work));
    pool.allowCoreThreadTimeOut(true);
    this.turns = new Turns(pool, options.threads());
  }

  /** Has a thread of its own do something. */
  void start(String name, Runnable work) {
    thread(name, work).start();
  }

  private static Thread thread(String name, Runnable work) {
    return Thread.ofPlatform().daemon().name(name).unstarted(work);
  }

  /**
   * Begins to serve at an address: an {@link InetSocketAddress} (port 0: any that is free) or a
   * {@link UnixDomainSocketAddress}, whose file is made here and taken away at the end. A socket
   * file that is there and that nobody listens at is replaced.
   *
   * @throws java.net.BindException if the address is in use
   * @throws IllegalArgumentException if a bitmap to be exported is not there
   */
  public static NbdServer listen(SocketAddress address, NbdServerOptions options)
      throws IOException {
    boolean unix = address instanceof UnixDomainSocketAddress;
    ServerSocketChannel channel =
        unix ? ServerSocketChannel.open(StandardProtocolFamily.UNIX) : ServerSocketChannel.open();
    Path file = null;
    try {
      if (address instanceof UnixDomainSocketAddress local) {
        UnixSockets.removeStale(local.getPath());
      } else {
        channel.setOption(StandardSocketOptions.SO_REUSEADDR, true);
      }
      channel.bind(address, 128);
      file = address instanceof UnixDomainSocketAddress local ? local.getPath() : null;
      return start(channel, file, options);
    } catch (IOException | RuntimeException e) {
      channel.close();
      if (file != null) {
        Files.deleteIfExists(file);
      }
      throw e;
    }
  }

  /**
   * Begins to serve at a socket that somebody else bound, and closes it at the end. If this fails,
   * it is left open.
   */
  public static NbdServer listen(ServerSocketChannel channel, NbdServerOptions options)
      throws IOException {
    return start(channel, null, options);
  }

  private static NbdServer start(
      ServerSocketChannel channel, @Nullable Path file, NbdServerOptions options)
      throws IOException {
    NbdServer server = new NbdServer(channel, file, options);
    server.accepting.start();
    server.watching.start();
    return server;
  }

  /** Where it listens, with the port that it has. */
  public SocketAddress address() {
    return address;
  }

  /** What it counts, of the moment at which it is asked. May be registered with JMX. */
  public NbdServerMXBean counters() {
    return statistics;
  }

  NbdServerOptions options() {
    return options;
  }

  ServerStatistics statistics() {
    return statistics;
  }

  Payloads payloads() {
    return payloads;
  }

  /** Memory for the data of all connections' requests. */
  Budget budget() {
    return budget;
  }

  Turns turns() {
    return turns;
  }

  Iterable<ServedExport> exports() {
    return exports.values();
  }

  /** The export of this name, the default one for an empty name, or null. */
  @Nullable ServedExport export(String name) {
    ServedExport export = exports.get(name);
    return export == null && name.isEmpty() ? defaultExport : export;
  }

  /** Whether clients may open several connections. */
  boolean shared() {
    return options.connections() > 1;
  }

  boolean watchesIdle() {
    return !options.idleTime().isZero();
  }

  boolean stopping() {
    return stopping;
  }

  synchronized int connections() {
    return connections.size();
  }

  void log(Level level, String message) {
    log.log(level, message);
  }

  private void accept() {
    while (!stopping) {
      try {
        awaitRoom();
        SocketChannel client = listening.accept();
        statistics.accepted();
        begin(client);
      } catch (InterruptedException e) {
        return;
      } catch (Throwable e) { // no memory, say: the next one may fare better
        if (!listening.isOpen()) {
          return;
        }
        log(Level.WARNING, "a client could not be accepted: " + e.getMessage());
        if (!pause(PAUSE)) {
          return;
        }
      }
    }
  }

  private synchronized void awaitRoom() throws InterruptedException {
    while (connections.size() >= options.connections()) {
      wait();
    }
  }

  /** Time passes, which is all that this waits for; whether it was not interrupted. */
  private boolean pause(long millis) {
    try {
      Thread.sleep(millis);
      return true;
    } catch (InterruptedException e) {
      return false;
    }
  }

  private void begin(SocketChannel client) throws IOException {
    Connection connection = null;
    try {
      connection = new Connection(this, client, peer(client));
      synchronized (this) {
        if (stopping) {
          client.close();
          return;
        }
        connections.add(connection);
        sizePool();
      }
      if (client.supportedOptions().contains(StandardSocketOptions.TCP_NODELAY)) {
        client.setOption(StandardSocketOptions.TCP_NODELAY, true);
        // A host that lost its power gives up its place some time.
        client.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
      }
      thread("imago-nbd-client-" + NUMBERS.incrementAndGet(), connection).start();
    } catch (IOException | RuntimeException | Error e) {
      client.close();
      if (connection != null) {
        ended(connection, false);
      }
      throw e;
    }
  }

  private static String peer(SocketChannel client) throws IOException {
    SocketAddress address = client.getRemoteAddress();
    return address instanceof InetSocketAddress inet
        ? inet.getAddress().getHostAddress() + ":" + inet.getPort()
        : "client " + NUMBERS.incrementAndGet();
  }

  /**
   * As many as {@link Turns} uses at most: whom others' slow requests must not hold up has one of
   * its own. They are made when needed.
   */
  private void sizePool() {
    int size = options.threads() + connections.size();
    if (size > pool.getMaximumPoolSize()) {
      pool.setMaximumPoolSize(size);
      pool.setCorePoolSize(size);
    } else {
      pool.setCorePoolSize(size);
      pool.setMaximumPoolSize(size);
    }
  }

  /** A connection has ended; called once for each. */
  synchronized void ended(Connection connection, boolean negotiated) {
    connections.remove(connection);
    served |= negotiated;
    notifyAll();
    sizePool();
  }

  private void watch() {
    while (pause(WATCH)) {
      List<Connection> all;
      synchronized (this) {
        all = List.copyOf(connections);
      }
      long now = System.nanoTime();
      all.forEach(connection -> connection.watch(now));
    }
  }

  /**
   * Waits until at least one client has used an export, and none is connected any more; or until
   * the server was closed.
   */
  public synchronized void awaitClients() throws InterruptedException {
    while (!closed && !(served && connections.isEmpty())) {
      wait();
    }
  }

  /** Waits until the server was closed. */
  public synchronized void awaitClosed() throws InterruptedException {
    while (!closed) {
      wait();
    }
  }

  /**
   * Ends it: accepts nobody more, answers what was asked for, and makes all that was written
   * durable. Clients that have not taken their replies after {@link NbdServerOptions#drainTime} are
   * cut off. The images stay open. A second call waits for the first, and ends as that did.
   *
   * @throws IOException if something that was written may not be durable
   */
  @Override
  public void close() throws IOException {
    synchronized (this) {
      if (stopping) {
        awaitEndOfClose();
        if (lost != null) {
          throw lost;
        }
        return;
      }
      stopping = true;
    }
    try {
      stopListening();
      drain();
      pool.shutdown();
      flush();
    } catch (IOException e) {
      synchronized (this) {
        lost = e;
      }
      throw e;
    } finally {
      watching.interrupt();
      payloads.clear();
      synchronized (this) {
        closed = true;
        notifyAll();
      }
    }
  }

  /** What goes wrong here must keep nobody from draining and flushing. */
  private void stopListening() {
    try {
      listening.close();
      if (socketFile != null) {
        Files.deleteIfExists(socketFile);
      }
    } catch (IOException | RuntimeException e) {
      log(Level.WARNING, "the socket could not be taken away: " + e);
    }
    accepting.interrupt();
  }

  private void awaitEndOfClose() {
    boolean interrupted = false;
    while (!closed) {
      try {
        wait();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private synchronized void drain() {
    List.copyOf(connections).forEach(Connection::stop);
    awaitNoConnections(options.drainTime());
    List.copyOf(connections).forEach(Connection::close);
    // What is under way in an image cannot be cut off; but what others wrote must be flushed.
    awaitNoConnections(STUCK);
    if (!connections.isEmpty()) {
      log(Level.WARNING, connections.size() + " connections are stuck and are left behind");
    }
  }

  private synchronized void awaitNoConnections(Duration most) {
    long end = System.nanoTime() + most.toNanos();
    boolean interrupted = false;
    while (!connections.isEmpty()) {
      long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
      if (left <= 0) {
        break;
      }
      try {
        wait(left);
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private void flush() throws IOException {
    Set<Image> images = Collections.newSetFromMap(new IdentityHashMap<>());
    IOException failure = null;
    for (ServedExport export : exports.values()) {
      if (!export.readOnly() && images.add(export.image())) {
        try {
          export.flush();
        } catch (IOException | RuntimeException e) {
          IOException next = e instanceof IOException io ? io : new IOException(e);
          if (failure == null) {
            failure = next;
          } else {
            failure.addSuppressed(next);
          }
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
  }
}
