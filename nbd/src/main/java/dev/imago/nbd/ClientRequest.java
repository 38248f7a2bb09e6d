package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.StatusExtent;
import java.nio.ByteBuffer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A request from when it is made until its caller knows the answer, over as many connections as
 * that takes. The connection that has it guards its state.
 */
final class ClientRequest {
  private static final ByteBuffer[] NOTHING = {};

  final CommandType type;
  final int flags;
  final long offset;
  final long length;

  /** What a WRITE sends; views whose positions nobody moves. */
  private final ByteBuffer[] payload;

  /** Where a READ's bytes go, from its position on; null for other commands. */
  private final @Nullable ByteBuffer destination;

  /** Which connection has it; null before the first. */
  @Nullable ClientConnection connection;

  /** Its name there. */
  long cookie;

  /** Who waits for its answer, and does not read; or null. */
  @Nullable Thread waiter;

  /** How often it was sent. */
  int attempts;

  /** Whether it is over, well or badly. Nothing else changes after it. */
  volatile boolean done;

  /** What a FLUSH vouches for, if it is answered: so many changes. */
  long covered;

  private @Nullable Coverage coverage;
  private @Nullable List<StatusExtent> extents;
  private Chunk.@Nullable Failed refusal;
  private @Nullable NbdException failure;

  private ClientRequest(
      CommandType type,
      int flags,
      long offset,
      long length,
      ByteBuffer[] payload,
      @Nullable ByteBuffer destination) {
    this.type = type;
    this.flags = flags;
    this.offset = offset;
    this.length = length;
    this.payload = payload;
    this.destination = destination;
    startAgain();
  }

  /** A command without data. */
  static ClientRequest of(CommandType type, int flags, long offset, long length) {
    return new ClientRequest(type, flags, offset, length, NOTHING, null);
  }

  /** Fills {@code dst}; its position stays. */
  static ClientRequest read(ByteBuffer dst, long offset) {
    return new ClientRequest(CommandType.READ, 0, offset, dst.remaining(), NOTHING, dst.slice());
  }

  /** Sends these buffers, whose positions stay. */
  static ClientRequest write(ByteBuffer[] srcs, int flags, long offset, long length) {
    return new ClientRequest(CommandType.WRITE, flags, offset, length, srcs, null);
  }

  /** Forgets all that a lost connection has answered. */
  void startAgain() {
    coverage = type == CommandType.READ ? new Coverage(offset, length) : null;
    extents = null;
    refusal = null;
  }

  /** Header first, then what a WRITE sends. */
  ByteBuffer[] message(ByteBuffer header) {
    ByteBuffer[] message = new ByteBuffer[1 + payload.length];
    message[0] = header;
    for (int i = 0; i < payload.length; i++) {
      message[1 + i] = payload[i].duplicate();
    }
    return message;
  }

  /** Whether it changes the export in a way that a flush has to make safe. */
  boolean changes() {
    boolean change =
        switch (type) {
          case WRITE, WRITE_ZEROES, TRIM -> true;
          case READ, DISCONNECT, FLUSH, CACHE, BLOCK_STATUS -> false;
        };
    return change && (flags & CommandType.FUA) == 0;
  }

  /**
   * Where a run of a READ's bytes goes; it counts as being there.
   *
   * @throws NbdProtocolException if it is not a part of the request, or is there already
   */
  ByteBuffer place(long at, long bytes) throws NbdProtocolException {
    if (coverage == null || destination == null) {
      throw new NbdProtocolException("reply to %s: it carries data".formatted(type));
    }
    coverage.add(at, bytes);
    return destination.slice((int) (at - offset), (int) bytes);
  }

  /** Takes what {@code base:allocation} says. */
  void take(List<StatusExtent> status) throws NbdProtocolException {
    if (type != CommandType.BLOCK_STATUS || extents != null) {
      throw new NbdProtocolException("reply to %s: one block status too many".formatted(type));
    }
    long sum = 0;
    for (StatusExtent extent : status) {
      if (sum >= length) {
        throw new NbdProtocolException(
            "block status: extents go on after the %d bytes asked for".formatted(length));
      }
      sum += extent.length();
    }
    extents = status;
  }

  /** The server refuses, or fails; the first time counts. */
  void refuse(Chunk.Failed failed) {
    if (refusal == null) {
      refusal = failed;
    }
  }

  /**
   * The server has said its last.
   *
   * @throws NbdProtocolException if something is missing
   */
  void finish() throws NbdProtocolException {
    if (refusal == null) {
      if (coverage != null) {
        coverage.requireAll();
      }
      if (type == CommandType.BLOCK_STATUS && extents == null) {
        throw new NbdProtocolException("reply to BLOCK_STATUS: there is no block status in it");
      }
    }
    done = true;
  }

  /** There will be no answer. */
  void fail(NbdException why) {
    failure = why;
    done = true;
  }

  /** Why there was no answer, or null. */
  @Nullable NbdException failure() {
    return failure;
  }

  /** What the server refused it with, or null. */
  Chunk.@Nullable Failed refusal() {
    return refusal;
  }

  /** What {@code base:allocation} said; empty for other commands. */
  List<StatusExtent> extents() {
    return extents == null ? List.of() : extents;
  }
}
