package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.ChunkHeader;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.Greeting;
import dev.imago.nbd.wire.MetaContext;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyHeader;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.OptionType;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.SimpleReply;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/**
 * A server that says what a test wants it to say. Each connection runs the next script, the last
 * one for all that follow; where a script ends the connection is closed, after the client has read
 * all that was said.
 */
final class ScriptedServer implements AutoCloseable {
  /** Flags of an export that can do everything. */
  static final int ALL = 0x0d6d | 1 << 7;

  private final ServerSocket listening;
  private final List<Script> scripts;
  private final List<Throwable> failures = new CopyOnWriteArrayList<>();
  private final List<Thread> threads = new CopyOnWriteArrayList<>();

  /** What a server does with one client. */
  interface Script {
    void run(Peer peer) throws Exception;
  }

  ScriptedServer(Script... scripts) throws IOException {
    this.scripts = List.of(scripts);
    this.listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    Thread.ofPlatform().daemon().start(this::accept);
  }

  NbdUri uri() {
    return uri(false);
  }

  NbdUri uri(boolean tls) {
    return NbdUri.parse(
        (tls ? "nbds" : "nbd")
            + "://127.0.0.1:"
            + listening.getLocalPort()
            + "/disk"
            + (tls ? "?tls-verify-peer=0" : ""));
  }

  private void accept() {
    for (int number = 0; !listening.isClosed(); number++) {
      try {
        Socket socket = listening.accept();
        Script script = scripts.get(Math.min(number, scripts.size() - 1));
        threads.add(Thread.ofPlatform().daemon().start(() -> run(script, socket)));
      } catch (IOException e) {
        return; // closed
      }
    }
  }

  private void run(Script script, Socket socket) {
    try (socket) {
      script.run(new Peer(socket));
      // Closed with something unread, it would be reset, and what was said lost on its way.
      socket.shutdownOutput();
      socket.getInputStream().transferTo(OutputStream.nullOutputStream());
    } catch (EOFException | SocketException e) {
      // The client has gone.
    } catch (Throwable e) {
      failures.add(e);
    }
  }

  /** Stops, waits for all scripts, and fails if one did. */
  @Override
  public void close() throws Exception {
    listening.close();
    for (Thread thread : threads) {
      thread.join();
    }
    if (!failures.isEmpty()) {
      throw new AssertionError(failures.getFirst());
    }
  }

  /** A client, from the server's side. */
  static final class Peer {
    final DataInputStream in;
    final DataOutputStream out;

    Peer(Socket socket) throws IOException {
      in = new DataInputStream(socket.getInputStream());
      out = new DataOutputStream(socket.getOutputStream());
    }

    /** A message of so many bytes. */
    void send(int bytes, Consumer<ByteBuffer> message) throws IOException {
      ByteBuffer buffer = ByteBuffer.allocate(bytes);
      message.accept(buffer);
      out.write(buffer.array(), 0, buffer.position());
    }

    void sendHex(String hex) throws IOException {
      out.write(HexFormat.of().parseHex(hex.replace(" ", "")));
    }

    private ByteBuffer receive(int bytes) throws IOException {
      return ByteBuffer.wrap(in.readNBytes(bytes));
    }

    void greet(int flags) throws IOException {
      send(Greeting.BYTES, new Greeting(flags)::write);
      in.readInt();
    }

    record Option(OptionType type, ByteBuffer data) {}

    Option option() throws IOException {
      ByteBuffer bytes = receive(OptionHeader.BYTES);
      if (bytes.capacity() < OptionHeader.BYTES) {
        throw new EOFException();
      }
      OptionHeader header = OptionHeader.parse(bytes);
      return new Option(OptionType.of(header.option()), receive((int) header.length()));
    }

    void reply(OptionType option, OptionReplyType type, byte... data) throws IOException {
      send(
          OptionReplyHeader.BYTES,
          new OptionReplyHeader(option.code(), type.code(), data.length)::write);
      out.write(data);
    }

    void info(OptionType option, ExportInfo info) throws IOException {
      ByteBuffer data = ByteBuffer.allocate(info.bytes());
      info.write(data);
      reply(option, OptionReplyType.INFO, data.array());
    }

    /** A whole handshake that grants everything. */
    void open(long size, int flags) throws IOException {
      open(size, flags, true);
    }

    /**
     * A whole handshake, with or without structured replies, and with more to say of the export.
     */
    void open(long size, int flags, boolean structured, ExportInfo... more) throws IOException {
      greet(3);
      while (true) {
        Option option = option();
        switch (option.type()) {
          case STRUCTURED_REPLY ->
              reply(option.type(), structured ? OptionReplyType.ACK : OptionReplyType.ERR_UNSUP);
          case SET_META_CONTEXT -> {
            MetaContext context = new MetaContext(7, MetaContext.ALLOCATION);
            ByteBuffer data = ByteBuffer.allocate(context.bytes());
            context.write(data);
            reply(option.type(), OptionReplyType.META_CONTEXT, data.array());
            reply(option.type(), OptionReplyType.ACK);
          }
          case GO -> {
            info(option.type(), new ExportInfo.Export(size, flags));
            for (ExportInfo info : more) {
              info(option.type(), info);
            }
            reply(option.type(), OptionReplyType.ACK);
            return;
          }
          default -> reply(option.type(), OptionReplyType.ERR_UNSUP);
        }
      }
    }

    /** The next request; its payload is still to be read. */
    Request request() throws IOException {
      ByteBuffer bytes = receive(Request.BYTES);
      if (bytes.capacity() < Request.BYTES) {
        throw new EOFException();
      }
      Request request = Request.parse(bytes);
      if (request.type() == CommandType.DISCONNECT.code()) {
        throw new EOFException();
      }
      return request;
    }

    byte[] payload(Request request) throws IOException {
      return in.readNBytes((int) request.length());
    }

    void simple(Request request, int error) throws IOException {
      send(SimpleReply.BYTES, new SimpleReply(error, request.cookie())::write);
    }

    void chunk(Request request, boolean done, Chunk chunk) throws IOException {
      ChunkHeader header =
          new ChunkHeader(
              done ? ChunkHeader.DONE : 0, chunk.type(), request.cookie(), 0, chunk.bytes());
      send(ChunkHeader.BYTES, header::write);
      send(chunk.bytes(), chunk::write);
    }

    void chunkHex(Request request, boolean done, int type, String hex) throws IOException {
      byte[] bytes = HexFormat.of().parseHex(hex.replace(" ", ""));
      ChunkHeader header =
          new ChunkHeader(done ? ChunkHeader.DONE : 0, type, request.cookie(), 0, bytes.length);
      send(ChunkHeader.BYTES, header::write);
      out.write(bytes);
    }

    /** Answers a request as if the disk held {@code fill} everywhere, and took all changes. */
    void serve(Request request, byte fill) throws IOException {
      if (request.type() == CommandType.READ.code()) {
        ByteBuffer data = ByteBuffer.allocate((int) request.length());
        Arrays.fill(data.array(), fill);
        chunk(request, true, new Chunk.Data(request.offset(), data));
      } else {
        if (request.type() == CommandType.WRITE.code()) {
          payload(request);
        }
        simple(request, 0);
      }
    }

    /** Serves until the client goes. */
    void serveAll(byte fill) throws IOException {
      while (true) {
        serve(request(), fill);
      }
    }
  }
}
