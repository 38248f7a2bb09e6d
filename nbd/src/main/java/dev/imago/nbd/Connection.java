package dev.imago.nbd;

import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.Text;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import org.jspecify.annotations.Nullable;

/** One client: its socket, its thread, what it is owed. */
final class Connection implements Runnable {
  private final NbdServer server;
  private final PlainTransport socket;
  private final String peer;
  private final InFlight inFlight;
  private final Farewell farewell;
  private final Turns.Line line = new Turns.Line();
  private volatile Outbox outbox;

  /** Nanoseconds of {@link System#nanoTime} at which it began, or last sent a request. */
  private volatile long lastActive = System.nanoTime();

  private volatile boolean transmitting;

  /** Why it was cut off by us, or null. */
  private volatile @Nullable String cutOff;

  Connection(NbdServer server, SocketChannel channel, String peer) {
    this.server = server;
    this.peer = peer;
    this.inFlight =
        new InFlight(NbdServerOptions.REQUESTS, NbdServerOptions.BYTES, server.budget());
    this.socket = new PlainTransport(channel);
    this.outbox = new Outbox(socket);
    this.farewell = new Farewell(socket, inFlight);
  }

  NbdServer server() {
    return server;
  }

  Outbox outbox() {
    return outbox;
  }

  InFlight inFlight() {
    return inFlight;
  }

  /** A request of the pool is answered, with so many bytes of memory. */
  void left(long charge) {
    inFlight.leave(charge);
    if (stopping()) {
      farewell.sayIfQuiet();
    }
  }

  /** Whether the client will not hear anything any more. */
  boolean broken() {
    return outbox.broken() != null;
  }

  /** Whether the server is about to end. */
  boolean stopping() {
    return server.stopping();
  }

  /** Has the pool do something. */
  void execute(Runnable request) {
    server.turns().add(line, request);
  }

  /** The client has sent a request. */
  void active() {
    if (server.watchesIdle()) {
      lastActive = System.nanoTime();
    }
  }

  @Override
  public void run() {
    server.log(Level.DEBUG, peer + ": connected");
    String end = "has left";
    try (Payloads.Payload received = server.payloads().take(Incoming.BYTES);
        Payloads.Payload batch = server.payloads().take(Transmission.BATCH_ROOM)) {
      try {
        serve(received.buffer(), batch.buffer());
      } catch (NbdProtocolException e) {
        server.statistics().dropped();
        end = "broke the protocol: " + e.getMessage();
      } catch (IOException e) {
        end = "lost: " + Text.printable(String.valueOf(e.getMessage()));
      } catch (RuntimeException | Error e) {
        server.log(Level.WARNING, peer + ": internal error: " + e);
        throw e;
      } finally {
        // Whatever was asked for is done, and uses what is given back here.
        inFlight.awaitNone();
      }
      if (cutOff == null && !broken()) {
        farewell.finish(received.buffer());
      }
    } finally {
      close();
      server.log(Level.DEBUG, peer + ": " + (cutOff != null ? cutOff : end));
      server.ended(this, transmitting);
    }
  }

  private void serve(ByteBuffer received, ByteBuffer batch) throws IOException {
    Incoming in = new Incoming(socket, received, farewell);
    Handshake handshake = new Handshake(server, socket, in, batch);
    Agreement agreement = handshake.run();
    if (agreement == null) {
      return;
    }
    if (handshake.transport() != socket) {
      outbox = new Outbox(handshake.transport());
    }
    lastActive = System.nanoTime();
    transmitting = true;
    server.log(
        Level.DEBUG,
        "%s: uses export '%s'".formatted(peer, Text.printable(agreement.export().name())));
    new Transmission(this, agreement, in, batch, outbox, inFlight).run();
  }

  /** What a client is told about a failure, which is noted here. */
  NbdError errorOf(Request request, Throwable thrown) {
    server.log(
        Level.WARNING,
        "%s: %s of %d bytes at %d failed: %s"
            .formatted(
                peer,
                CommandType.of(request.type()),
                request.length(),
                request.offset(),
                thrown.getMessage() != null ? thrown.getMessage() : thrown));
    return Refusal.error(thrown);
  }

  /**
   * Ends it if it is overdue.
   *
   * @param now in the terms of {@link System#nanoTime}
   */
  void watch(long now) {
    long idle = now - lastActive;
    if (farewell.begun()) {
      if (farewell.overdue(now)) {
        close();
      }
    } else if (!transmitting && idle > server.options().handshakeTime().toNanos()) {
      cutOff("took too long for the handshake");
    } else if (transmitting
        && server.watchesIdle()
        && idle > server.options().idleTime().toNanos()
        && inFlight.requests() == 0) {
      cutOff("was idle for too long");
    } else if (server.watchesIdle() && outbox.stuck(now, server.options().idleTime().toNanos())) {
      cutOff("took none of its replies for too long");
    }
  }

  private void cutOff(String why) {
    if (cutOff == null) {
      cutOff = why;
      server.statistics().dropped();
    }
    close();
  }

  /** Ends it because a request failed of which a part was answered as if all were well. */
  void hangUp(Request request, Throwable thrown) {
    server.statistics().failed();
    errorOf(request, thrown);
    close();
  }

  /** Ends it because a request cannot be answered at all. */
  void giveUp(Throwable error) {
    close();
    server.log(Level.WARNING, peer + ": internal error: " + error);
  }

  /** Reads no more requests as soon as those that were read are answered. Does not wait. */
  void stop() {
    farewell.want();
    try {
      server.start("imago-nbd-end", farewell::sayIfQuiet);
    } catch (Error e) {
      close(); // no memory for a thread
    }
  }

  /** Ends it, whatever is under way. */
  void close() {
    try {
      socket.close();
    } catch (IOException e) {
      server.log(Level.DEBUG, peer + ": closing failed: " + e.getMessage());
    }
  }
}
