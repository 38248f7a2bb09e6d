package dev.imago.nbd;

import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyHeader;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.Text;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Locale;
import javax.net.ssl.SSLEngine;
import org.jspecify.annotations.Nullable;

/**
 * Options to a server and its replies, one option at a time. What a server sends is bounded: a
 * reply has {@link #MAX_REPLY} bytes, an option {@link #MAX_REPLIES} replies.
 */
final class OptionStream {
  /** The longest reply, in bytes: an export with name and description, and some more. */
  static final int MAX_REPLY = 32 << 10;

  /** Replies to one option, which are exports, contexts or pieces of information. */
  static final int MAX_REPLIES = 10_000;

  private final PlainTransport socket;
  private Transport transport;

  /** What has been received and not looked at, from position to limit. */
  private final ByteBuffer in = ByteBuffer.allocate(MAX_REPLY).limit(0);

  OptionStream(PlainTransport socket) {
    this.socket = socket;
    this.transport = socket;
  }

  /** Told of a reply that neither agrees nor refuses. */
  interface Replies {
    /**
     * Takes one.
     *
     * @param type neither ACK nor an error
     * @param data all of the reply's data, to be used before this returns
     */
    void take(OptionReplyType type, ByteBuffer data) throws IOException;
  }

  /** The server does not agree, and waits for another option. */
  static final class RefusedException extends IOException {
    private static final long serialVersionUID = 1L;

    private RefusedException(String message) {
      super(message);
    }
  }

  /**
   * The server's no.
   *
   * @param type why, or null for an error that is not known
   * @param text the server's words, printable; may be empty
   */
  record Refusal(@Nullable OptionReplyType type, int code, String text) {
    /** In the words that QEMU has for it. */
    RefusedException toException(OptionType option) {
      String asked = "option %d (%s)".formatted(option.code(), word(option));
      String why =
          switch (type) {
            case ERR_UNSUP ->
                option == OptionType.STARTTLS
                    ? "Server does not support TLS"
                    : "Server does not support " + asked;
            case ERR_POLICY -> "Denied by server for " + asked;
            case ERR_INVALID -> "Invalid parameters for " + asked;
            case ERR_PLATFORM -> "Server lacks support for " + asked;
            case ERR_TLS_REQD -> "Server requires TLS for " + asked + "\nUse nbds: or tls-creds";
            case ERR_UNKNOWN -> "Requested export not available";
            case ERR_SHUTDOWN -> "Server shutting down before " + asked;
            case ERR_BLOCK_SIZE_REQD -> "Server requires INFO_BLOCK_SIZE for " + asked;
            case null, default -> "Unknown error 0x%x for %s".formatted(code, asked);
          };
      return new RefusedException(text.isEmpty() ? why : why + "\nserver reported: " + text);
    }

    private static String word(OptionType option) {
      return option.name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }
  }

  /** What the connection goes on with. */
  Transport transport() {
    return transport;
  }

  /** Sends an option, and hands its replies out until it is over; null if the server agrees. */
  @Nullable Refusal ask(OptionType option, ByteBuffer data, Replies replies) throws IOException {
    send(option, data);
    for (int number = 0; number < MAX_REPLIES; number++) {
      OptionReplyHeader header = OptionReplyHeader.parse(read(OptionReplyHeader.BYTES));
      if (header.option() != option.code()) {
        throw new NbdProtocolException(
            "reply to an option: it is for option %d, not %d"
                .formatted(header.option(), option.code()));
      }
      if (header.length() > MAX_REPLY) {
        throw new NbdProtocolException(
            "reply to an option: %d bytes; at most %d are accepted"
                .formatted(header.length(), MAX_REPLY));
      }
      ByteBuffer reply = read((int) header.length());
      OptionReplyType type = OptionReplyType.of(header.type());
      if (OptionReplyType.isError(header.type())) {
        return new Refusal(type, header.type(), text(reply));
      }
      if (type == OptionReplyType.ACK) {
        return null;
      }
      if (type == null) {
        throw new NbdProtocolException(
            "reply to an option: its type is %d, which is not known".formatted(header.type()));
      }
      replies.take(type, reply);
    }
    throw new NbdProtocolException("reply to an option: more than %d parts".formatted(MAX_REPLIES));
  }

  private static String text(ByteBuffer reply) {
    try {
      return Text.printable(Text.rest(reply, "text"));
    } catch (NbdProtocolException e) {
      return "(" + e.getMessage() + ")"; // it refuses all the same
    }
  }

  /** Sends an option that has no replies. */
  void send(OptionType option, ByteBuffer data) throws IOException {
    ByteBuffer header = ByteBuffer.allocate(OptionHeader.BYTES);
    new OptionHeader(option.code(), data.remaining()).write(header);
    transport.write(header.flip(), data);
  }

  /** Sends bytes as they are. */
  void write(ByteBuffer bytes) throws IOException {
    transport.write(bytes);
  }

  /**
   * Waits for this many bytes.
   *
   * @param length at most {@link #MAX_REPLY}
   * @return a view of them, good until the next call
   */
  ByteBuffer read(int length) throws IOException {
    if (in.remaining() < length) {
      in.compact();
      try {
        while (in.position() < length) {
          if (transport.read(in) < 0) {
            throw new EOFException("The server has closed the connection in the handshake");
          }
        }
      } finally {
        in.flip();
      }
    }
    ByteBuffer bytes = in.slice(in.position(), length);
    in.position(in.position() + length);
    return bytes;
  }

  /** Nothing that a server, or who is between, has sent too early may be taken for more. */
  void requireNothingMore(String when) throws NbdProtocolException {
    if (in.hasRemaining()) {
      throw new NbdProtocolException(
          "%d bytes too many from the server, %s".formatted(in.remaining(), when));
    }
  }

  /** Goes on under TLS; what came in clear is gone. */
  void startTls(SSLEngine engine) throws IOException {
    requireNothingMore("in clear after it had agreed to TLS");
    transport = TlsTransport.over(socket, engine);
  }
}
