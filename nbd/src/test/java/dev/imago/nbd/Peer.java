package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.ChunkHeader;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.ContextQuery;
import dev.imago.nbd.wire.ExportQuery;
import dev.imago.nbd.wire.Greeting;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyHeader;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.SimpleReply;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * The other end of a server, which sends what a test has it send, allowed or not, and knows nothing
 * of our own client.
 */
final class Peer implements Closeable {
  final SocketChannel channel;

  private Peer(SocketChannel channel) {
    this.channel = channel;
  }

  /** Connects, and does not even read the greeting. */
  static Peer connect(SocketAddress address) throws IOException {
    return over(SocketChannel.open(address));
  }

  /** Takes over a connected channel, in blocking mode. */
  static Peer over(SocketChannel channel) {
    return new Peer(channel);
  }

  /** Connects, and exchanges flags. */
  static Peer greeted(SocketAddress address) throws IOException {
    return greeted(address, Greeting.FIXED_NEWSTYLE | Greeting.NO_ZEROES);
  }

  static Peer greeted(SocketAddress address, int clientFlags) throws IOException {
    Peer peer = connect(address);
    peer.greet(clientFlags);
    return peer;
  }

  /** Exchanges flags. */
  void greet() throws IOException {
    greet(Greeting.FIXED_NEWSTYLE | Greeting.NO_ZEROES);
  }

  private void greet(int clientFlags) throws IOException {
    Greeting.parse(receive(Greeting.BYTES));
    send(4, out -> out.putInt(clientFlags));
  }

  /** Connects, and uses the default export. */
  static Peer using(SocketAddress address, ReplyStyle style) throws IOException {
    Peer peer = greeted(address);
    peer.agreeOn(style);
    peer.go("");
    return peer;
  }

  void agreeOn(ReplyStyle style) throws IOException {
    switch (style) {
      case SIMPLE -> {}
      case STRUCTURED -> option(OptionType.STRUCTURED_REPLY.code(), new byte[0]);
      case EXTENDED -> option(OptionType.EXTENDED_HEADERS.code(), new byte[0]);
    }
  }

  /** Everything that remains to be read until the other end hangs up is thrown away. */
  void awaitHangup() throws IOException {
    ByteBuffer dst = ByteBuffer.allocate(1 << 16);
    try {
      while (channel.read(dst.clear()) >= 0) {
        // That was not the end.
      }
    } catch (IOException e) {
      return; // reset
    }
  }

  void send(int length, Consumer<ByteBuffer> writer) throws IOException {
    ByteBuffer out = ByteBuffer.allocate(length);
    writer.accept(out);
    send(out.flip());
  }

  void send(ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  ByteBuffer receive(int length) throws IOException {
    ByteBuffer in = ByteBuffer.allocate(length);
    while (in.hasRemaining()) {
      if (channel.read(in) < 0) {
        throw new EOFException("the server has hung up");
      }
    }
    return in.flip();
  }

  /** A reply to an option. */
  record OptionReply(int type, byte[] data) {
    OptionReplyType known() {
      return OptionReplyType.of(type);
    }

    ByteBuffer bytes() {
      return ByteBuffer.wrap(data);
    }
  }

  void sendOption(int option, byte[] data) throws IOException {
    send(
        OptionHeader.BYTES + data.length,
        out -> {
          new OptionHeader(option, data.length).write(out);
          out.put(data);
        });
  }

  /** Sends an option and reads its replies up to the last. */
  List<OptionReply> option(int option, byte[] data) throws IOException {
    sendOption(option, data);
    List<OptionReply> replies = new ArrayList<>();
    while (true) {
      OptionReplyHeader header = OptionReplyHeader.parse(receive(OptionReplyHeader.BYTES));
      if (header.option() != option) {
        throw new NbdProtocolException("a reply to option " + header.option());
      }
      replies.add(new OptionReply(header.type(), receive((int) header.length()).array()));
      if (header.type() < 0 || header.type() == OptionReplyType.ACK.code()) {
        return replies;
      }
    }
  }

  List<OptionReply> info(OptionType infoOrGo, String name, Integer... types) throws IOException {
    ExportQuery query = new ExportQuery(name, List.of(types));
    return option(infoOrGo.code(), bytes(query.bytes(), query::write));
  }

  List<OptionReply> go(String name) throws IOException {
    return info(OptionType.GO, name);
  }

  List<OptionReply> contexts(OptionType listOrSet, String export, String... queries)
      throws IOException {
    ContextQuery query = new ContextQuery(export, List.of(queries));
    return option(listOrSet.code(), bytes(query.bytes(), query::write));
  }

  static byte[] bytes(int length, Consumer<ByteBuffer> writer) {
    ByteBuffer out = ByteBuffer.allocate(length);
    writer.accept(out);
    return out.array();
  }

  /** Sends a compact request. */
  void request(CommandType type, int flags, long cookie, long offset, long length)
      throws IOException {
    send(Request.BYTES, new Request(flags, type.code(), cookie, offset, length)::write);
  }

  /** Sends an extended request. */
  void extended(CommandType type, int flags, long cookie, long offset, long length)
      throws IOException {
    send(
        Request.EXTENDED_BYTES,
        new Request(flags, type.code(), cookie, offset, length)::writeExtended);
  }

  void write(int flags, long cookie, long offset, byte[] data) throws IOException {
    request(CommandType.WRITE, flags, cookie, offset, data.length);
    send(ByteBuffer.wrap(data));
  }

  SimpleReply simpleReply() throws IOException {
    return SimpleReply.parse(receive(SimpleReply.BYTES));
  }

  /** A chunk with its header. */
  record Piece(ChunkHeader header, Chunk chunk) {}

  Piece piece() throws IOException {
    ChunkHeader header = ChunkHeader.parse(receive(ChunkHeader.BYTES));
    return new Piece(header, Chunk.parse(header.type(), receive((int) header.length())));
  }

  Piece extendedPiece() throws IOException {
    ChunkHeader header = ChunkHeader.parseExtended(receive(ChunkHeader.EXTENDED_BYTES));
    return new Piece(header, Chunk.parse(header.type(), receive((int) header.length())));
  }

  /** All pieces of one reply; no others may come in between. */
  List<Chunk> pieces(long cookie) throws IOException {
    List<Chunk> chunks = new ArrayList<>();
    while (true) {
      Piece piece = piece();
      if (piece.header().cookie() != cookie) {
        throw new NbdProtocolException("a piece of the reply to " + piece.header().cookie());
      }
      chunks.add(piece.chunk());
      if (piece.header().done()) {
        return chunks;
      }
    }
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
