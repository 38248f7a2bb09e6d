package dev.imago.nbd;

import dev.imago.nbd.wire.Chunk;
import dev.imago.nbd.wire.ChunkHeader;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.SimpleReply;
import java.nio.ByteBuffer;

/** How a connection's replies look; agreed on in the handshake. */
enum ReplyStyle {
  /** One piece, an error number, no text. */
  SIMPLE,
  /** Chunks; what has nothing to say but that it is done is a simple reply. */
  STRUCTURED,
  /** Chunks with 32-byte headers, and nothing else. */
  EXTENDED;

  /** Room that is enough for any reply without data, an error's text included. */
  static final int ROOM = 512;

  /** Whether replies can have several pieces. */
  boolean chunked() {
    return this != SIMPLE;
  }

  /** Writes that a request is done. */
  void done(ByteBuffer out, Request request) {
    if (this == EXTENDED) {
      header(out, request, true, Chunk.NONE, 0);
    } else {
      SimpleReply.write(out, 0, request.cookie());
    }
  }

  /** Writes that a READ, of nothing, is done. */
  void doneReading(ByteBuffer out, Request request) {
    if (chunked()) {
      header(out, request, true, Chunk.NONE, 0);
    } else {
      SimpleReply.write(out, 0, request.cookie());
    }
  }

  /**
   * Writes that a request failed; it was the last that is said of it.
   *
   * @param text at most 400 bytes; not every style shows it
   */
  void failed(ByteBuffer out, Request request, NbdError error, String text) {
    if (chunked()) {
      chunk(out, request, true, new Chunk.Failed(error.code(), text, -1));
    } else {
      SimpleReply.write(out, error.code(), request.cookie());
    }
  }

  /** Writes what stands before the data of a READ, a piece of it or all; the data must follow. */
  void beforeData(ByteBuffer out, Request request, long offset, int length, boolean last) {
    if (chunked()) {
      header(out, request, last, Chunk.OFFSET_DATA, 8L + length);
      out.putLong(offset);
    } else {
      SimpleReply.write(out, 0, request.cookie());
    }
  }

  /** Writes a whole chunk. */
  void chunk(ByteBuffer out, Request request, boolean last, Chunk chunk) {
    header(out, request, last, chunk.type(), chunk.bytes());
    chunk.write(out);
  }

  private void header(ByteBuffer out, Request request, boolean last, int type, long length) {
    int flags = last ? ChunkHeader.DONE : 0;
    if (this == EXTENDED) {
      new ChunkHeader(flags, type, request.cookie(), request.offset(), length).writeExtended(out);
    } else {
      new ChunkHeader(flags, type, request.cookie(), 0, length).write(out);
    }
  }
}
