package dev.imago.nbd;

import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.Request;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * One connection in use. Many threads send requests and wait for their answers. There is no thread
 * of its own: of those that wait one reads, hands out what it reads, and when it has its own answer
 * passes the reading on to another. A lone request is so answered without a change of threads.
 */
final class ClientConnection {
  /** How long a goodbye may take if the server does not read. */
  private static final long GOODBYE_NANOS = 1_000_000_000;

  private final Transport transport;
  private final PlainTransport socket;
  private final Agreed agreed;
  private final Unflushed unflushed;
  private final int generation;
  private final int number;
  private final ReplyReader replies;

  /** Guards everything below, and the state of the requests in it. Never held during I/O. */
  private final ReentrantLock lock = new ReentrantLock();

  /** Signalled when nobody reads any more. */
  private final Condition unread = lock.newCondition();

  /** What was sent and not answered, in the order of sending. */
  private final Map<Long, ClientRequest> unanswered = new LinkedHashMap<>();

  private long nextCookie = 1;
  private boolean reading;
  private @Nullable IOException broken;

  /** One request is written at a time. */
  private final ReentrantLock sending = new ReentrantLock();

  private final ByteBuffer header = ByteBuffer.allocateDirect(Request.BYTES);

  /**
   * A connection whose handshake is over.
   *
   * @param unflushed told of every change that is answered, and of every flush
   */
  ClientConnection(ClientHandshake.Ready ready, Unflushed unflushed) {
    this.transport = ready.transport();
    this.socket = ready.socket();
    this.agreed = ready.agreed();
    this.unflushed = unflushed;
    this.generation = unflushed.generation();
    this.number = unflushed.number();
    this.replies = new ReplyReader(transport, agreed, this::find);
  }

  Agreed agreed() {
    return agreed;
  }

  /** When it was made, as {@link Unflushed} counts. */
  int generation() {
    return generation;
  }

  /**
   * Whether it was made before another one, as far as a flush goes: what was lost with an older
   * generation is known already. If the server that this one goes to answers here, then it is the
   * one that has answered on the other, too.
   */
  boolean vouchesFor(ClientConnection other) {
    return generation != other.generation ? generation > other.generation : number < other.number;
  }

  /** How many requests wait for an answer. */
  int inFlight() {
    lock.lock();
    try {
      return unanswered.size();
    } finally {
      lock.unlock();
    }
  }

  /** Why this connection cannot be used any more, or null. */
  @Nullable IOException broken() {
    lock.lock();
    try {
      return broken;
    } finally {
      lock.unlock();
    }
  }

  /** Sends a request. If that breaks the connection, {@link #await} tells. */
  void send(ClientRequest request) {
    sendAll(List.of(request), () -> {});
  }

  /**
   * Sends requests in this order, with nothing in between. One that cannot be sent, whatever the
   * connection, fails, and breaks the connection.
   *
   * @param registered run when they are known here, before the first is sent: from then on their
   *     callers may wait, and read, here
   */
  void sendAll(List<ClientRequest> requests, Runnable registered) {
    sending.lock();
    try {
      boolean ours = register(requests);
      registered.run();
      if (ours) {
        for (ClientRequest each : requests) {
          if (!sent(each)) {
            return;
          }
        }
      }
    } finally {
      sending.unlock();
    }
  }

  /**
   * Whether a request was sent as a whole. If not, the connection is broken off: the server would
   * take the next header for what is missing.
   */
  private boolean sent(ClientRequest request) {
    try {
      write(request);
      return true;
    } catch (IOException e) {
      breakOff(e);
    } catch (RuntimeException | Error e) {
      // Such as no memory for a copy outside of the heap, or a buffer that is another thread's.
      NbdException failure = new NbdException("request", "cannot be sent: " + e, e);
      withdraw(request, failure);
      breakOff(failure);
    }
    return false;
  }

  /** Of no use on any connection. */
  private void withdraw(ClientRequest request, NbdException failure) {
    lock.lock();
    try {
      unanswered.remove(request.cookie);
      request.fail(failure);
      LockSupport.unpark(request.waiter);
    } finally {
      lock.unlock();
    }
  }

  /** False if the connection is broken: the requests are then none of ours. */
  private boolean register(List<ClientRequest> requests) {
    lock.lock();
    try {
      if (broken != null) {
        return false;
      }
      for (ClientRequest request : requests) {
        request.connection = this;
        request.attempts++;
        request.cookie = nextCookie++;
        unanswered.put(request.cookie, request);
      }
      return true;
    } finally {
      lock.unlock();
    }
  }

  private void write(ClientRequest request) throws IOException {
    header.clear();
    new Request(request.flags, request.type.code(), request.cookie, request.offset, request.length)
        .write(header);
    transport.write(request.message(header.flip()));
  }

  /** Waits until a request that was sent here is done, or this connection is broken. */
  void await(ClientRequest request) {
    boolean interrupted = false;
    lock.lock();
    try {
      while (!request.done && broken == null) {
        if (reading) {
          interrupted |= park(request);
        } else {
          read(request);
        }
      }
    } finally {
      lock.unlock();
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** Lets another thread read for a while; whether there was an interrupt. */
  private boolean park(ClientRequest request) {
    request.waiter = Thread.currentThread();
    lock.unlock();
    try {
      LockSupport.park(this);
    } finally {
      lock.lock();
      request.waiter = null;
    }
    return Thread.interrupted();
  }

  private void read(ClientRequest own) {
    reading = true;
    lock.unlock();
    try {
      readUntilDone(own);
    } finally {
      lock.lock();
      reading = false;
      unread.signalAll();
      wakeNextReader();
    }
  }

  private void wakeNextReader() {
    for (ClientRequest each : unanswered.values()) {
      if (each.waiter != null) {
        LockSupport.unpark(each.waiter);
        return;
      }
    }
  }

  private void readUntilDone(ClientRequest own) {
    try {
      ClientRequest finished;
      do {
        finished = replies.next();
        settle(finished);
      } while (finished != own);
    } catch (IOException e) {
      breakOff(e);
    } catch (RuntimeException | Error e) {
      breakOff(new IOException("a mistake in the client: " + e, e));
      throw e;
    }
  }

  private @Nullable ClientRequest find(long cookie) {
    lock.lock();
    try {
      return unanswered.get(cookie);
    } finally {
      lock.unlock();
    }
  }

  /** A request has its answer. Changes are counted before anybody can learn of it. */
  private void settle(ClientRequest request) throws NbdProtocolException {
    lock.lock();
    try {
      request.finish();
      unanswered.remove(request.cookie);
      if (request.refusal() == null) {
        unflushed.answered(request, generation);
      }
      LockSupport.unpark(request.waiter);
    } finally {
      lock.unlock();
    }
  }

  /** Ends this connection; whoever waits learns of it. */
  void breakOff(IOException why) {
    lock.lock();
    try {
      if (broken == null) {
        broken = why;
      }
      for (ClientRequest each : unanswered.values()) {
        LockSupport.unpark(each.waiter);
      }
    } finally {
      lock.unlock();
    }
    try {
      transport.close();
    } catch (IOException e) {
      why.addSuppressed(e);
    }
  }

  /**
   * What a broken connection leaves without an answer, in the order of sending; once. Nobody puts
   * anything where one of them reads to any more.
   */
  List<ClientRequest> takeUnanswered() {
    lock.lock();
    try {
      while (reading) {
        unread.awaitUninterruptibly();
      }
      List<ClientRequest> left = new ArrayList<>(unanswered.values());
      unanswered.clear();
      return left;
    } finally {
      lock.unlock();
    }
  }

  /** Says goodbye, if nobody is sending, and closes. */
  void close() {
    if (sending.tryLock()) {
      try {
        if (broken() == null) {
          socket.deadline(System.nanoTime() + GOODBYE_NANOS);
          write(ClientRequest.of(CommandType.DISCONNECT, 0, 0, 0));
          transport.end();
        }
      } catch (IOException e) {
        // The server has gone first, or does not care.
      } finally {
        sending.unlock();
      }
    }
    breakOff(new EOFException("closed"));
  }
}
