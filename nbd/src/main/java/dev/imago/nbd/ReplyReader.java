package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.ChunkHeader;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.Magic;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.SimpleReply;
import dev.imago.nbd.wire.Text;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.function.LongFunction;
import org.jspecify.annotations.Nullable;

/**
 * Reads replies, and puts what they carry where it was asked for. By one thread at a time. What the
 * server sends is checked against the request before a byte of it is taken.
 */
final class ReplyReader {
  /** What is received at once; longer data go straight to where they are wanted. */
  private static final int BUFFER = 64 << 10;

  /** The longest chunk that is taken as a whole: a block status. */
  private static final int MAX_CHUNK = 4 + 8 * Limits.EXTENTS;

  private final Transport transport;
  private final Agreed agreed;
  private final LongFunction<@Nullable ClientRequest> requests;
  private final ByteBuffer in = ByteBuffer.allocateDirect(BUFFER).limit(0);

  /**
   * A reader.
   *
   * @param requests finds what waits for an answer by its cookie
   */
  ReplyReader(Transport transport, Agreed agreed, LongFunction<@Nullable ClientRequest> requests) {
    this.transport = transport;
    this.agreed = agreed;
    this.requests = requests;
  }

  /** Reads until a request's reply has come as a whole, and returns that request. */
  ClientRequest next() throws IOException {
    while (true) {
      fill(Integer.BYTES);
      int magic = in.getInt(in.position());
      if (magic == Magic.SIMPLE_REPLY) {
        return simple();
      }
      if (magic != Magic.STRUCTURED_REPLY || !agreed.structured()) {
        throw new NbdProtocolException("reply: its magic number is 0x%x".formatted(magic));
      }
      ClientRequest finished = chunk();
      if (finished != null) {
        return finished;
      }
    }
  }

  private ClientRequest request(long cookie) throws NbdProtocolException {
    ClientRequest request = requests.apply(cookie);
    if (request == null) {
      throw new NbdProtocolException("reply: to a request that was not made");
    }
    return request;
  }

  private ClientRequest simple() throws IOException {
    fill(SimpleReply.BYTES);
    SimpleReply reply = SimpleReply.parse(in);
    ClientRequest request = request(reply.cookie());
    if (reply.error() != 0) {
      refuse(request, new Chunk.Failed(reply.error(), "", -1));
    } else if (request.type == CommandType.BLOCK_STATUS
        || request.type == CommandType.READ && agreed.structured()) {
      throw new NbdProtocolException(
          "reply to %s: it is a simple one, and chunks were agreed on".formatted(request.type));
    } else if (request.type == CommandType.READ) {
      readInto(request.place(request.offset, request.length));
    }
    return request;
  }

  /** Takes one chunk; null if its reply goes on. */
  private @Nullable ClientRequest chunk() throws IOException {
    fill(ChunkHeader.BYTES);
    ChunkHeader header = ChunkHeader.parse(in);
    ClientRequest request = request(header.cookie());
    if (header.type() == Chunk.OFFSET_DATA) {
      data(request, header.length());
    } else {
      take(request, header, whole(header));
    }
    return header.done() ? request : null;
  }

  private void data(ClientRequest request, long length) throws IOException {
    if (length < 9) {
      throw new NbdProtocolException("data chunk: %d bytes; 9 at least".formatted(length));
    }
    fill(Long.BYTES);
    readInto(request.place(in.getLong(), length - Long.BYTES));
  }

  private Chunk whole(ChunkHeader header) throws IOException {
    if (header.length() > MAX_CHUNK) {
      throw new NbdProtocolException(
          "chunk of type 0x%x: %d bytes; at most %d are accepted"
              .formatted(header.type(), header.length(), MAX_CHUNK));
    }
    int length = (int) header.length();
    if (length <= BUFFER) {
      fill(length);
      ByteBuffer payload = in.slice(in.position(), length);
      in.position(in.position() + length);
      return Chunk.parse(header.type(), payload);
    }
    ByteBuffer payload = ByteBuffer.allocate(length);
    readInto(payload.duplicate());
    return Chunk.parse(header.type(), payload);
  }

  private void take(ClientRequest request, ChunkHeader header, Chunk chunk) throws IOException {
    switch (chunk) {
      case Chunk.None _ -> {
        if (!header.done()) {
          throw new NbdProtocolException("empty chunk: it is not the last one");
        }
      }
      case Chunk.Hole hole -> {
        ByteBuffer zeroes = request.place(hole.offset(), hole.length());
        while (zeroes.remaining() >= Long.BYTES) {
          zeroes.putLong(0);
        }
        while (zeroes.hasRemaining()) {
          zeroes.put((byte) 0);
        }
      }
      case Chunk.Status status -> {
        // One of a context that we did not ask for says nothing to us.
        if (agreed.allocation() != null && status.context() == agreed.allocation()) {
          request.take(status.extents());
        }
      }
      case Chunk.Failed failed -> refuse(request, failed);
      case Chunk.Other other -> {
        if (!Chunk.isError(other.type())) {
          throw new NbdProtocolException(
              "chunk: its type is %d, which is not known".formatted(other.type()));
        }
        request.refuse(new Chunk.Failed(NbdError.EINVAL.code(), "", -1));
      }
      case Chunk.Data _ -> throw new AssertionError("read elsewhere");
    }
  }

  /** A server that ends in good order is as good as one that has ended: it may come back. */
  private static void refuse(ClientRequest request, Chunk.Failed failed) throws IOException {
    if (failed.error() == NbdError.ESHUTDOWN.code()) {
      throw new EOFException("the server is shutting down");
    }
    request.refuse(failed);
  }

  /** Waits until this many bytes are at hand; at most {@link #BUFFER}. */
  private void fill(int length) throws IOException {
    if (in.remaining() >= length) {
      return;
    }
    in.compact();
    try {
      while (in.position() < length) {
        receive(in);
      }
    } finally {
      in.flip();
    }
  }

  /** Fills a buffer with what comes next. */
  private void readInto(ByteBuffer dst) throws IOException {
    int atHand = Math.min(in.remaining(), dst.remaining());
    dst.put(in.slice(in.position(), atHand));
    in.position(in.position() + atHand);
    while (dst.hasRemaining()) {
      receive(dst);
    }
  }

  private void receive(ByteBuffer dst) throws IOException {
    if (transport.read(dst) < 0) {
      throw new EOFException("the server has closed the connection");
    }
  }

  /** What a server said, as it may be shown; empty if it said nothing. */
  static String said(Chunk.Failed failed) {
    return Text.printable(failed.message());
  }
}
