package dev.imago.nbd;

import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.OptionHeader;
import dev.imago.nbd.wire.OptionReplyHeader;
import dev.imago.nbd.wire.OptionReplyType;
import dev.imago.nbd.wire.Text;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/**
 * What a server says in the handshake: put together in a buffer, and sent when an option has its
 * last reply. For the connection's own thread.
 */
final class OptionReplies {
  private final ByteBuffer out;
  private Transport transport;

  /**
   * Nothing was said yet.
   *
   * @param out with room for any reply
   */
  OptionReplies(Transport transport, ByteBuffer out) {
    this.transport = transport;
    this.out = out.clear();
  }

  /** What it all goes through. */
  Transport transport() {
    return transport;
  }

  /** Goes on with TLS; all was sent. */
  void switchTo(Transport encrypted) {
    transport = encrypted;
  }

  /** Where something that is no reply to an option can be put, to be sent next. */
  ByteBuffer buffer() {
    return out;
  }

  void add(OptionHeader header, ExportInfo info) throws IOException {
    add(header, OptionReplyType.INFO, info.bytes(), info::write);
  }

  /**
   * One reply of several.
   *
   * @param length of {@code data} in bytes
   */
  void add(OptionHeader header, OptionReplyType type, int length, Consumer<ByteBuffer> data)
      throws IOException {
    if (out.remaining() < OptionReplyHeader.BYTES + length) {
      send();
    }
    new OptionReplyHeader(header.option(), type.code(), length).write(out);
    data.accept(out);
  }

  /** The last reply of an option: all is well. */
  void acknowledge(OptionHeader header) throws IOException {
    end(header, OptionReplyType.ACK, "");
  }

  /** The last reply of an option, with a text for people. */
  void end(OptionHeader header, OptionReplyType type, String text) throws IOException {
    add(
        header,
        type,
        Text.bytes(text),
        buffer -> buffer.put(text.getBytes(StandardCharsets.UTF_8)));
    send();
  }

  /** Sends what was put together. */
  void send() throws IOException {
    transport.write(out.flip());
    out.clear();
  }
}
