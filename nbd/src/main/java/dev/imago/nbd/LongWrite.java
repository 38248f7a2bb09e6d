package dev.imago.nbd;

import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.Request;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * A WRITE that is too long to be kept in memory as a whole: it is written piece by piece as it
 * comes in. For the connection's own thread.
 */
final class LongWrite {
  private static final int PIECE = 256 << 10;

  private final Connection connection;
  private final ServedExport export;
  private final Incoming in;

  LongWrite(Connection connection, ServedExport export, Incoming in) {
    this.connection = connection;
    this.export = export;
    this.in = in;
  }

  /**
   * Receives all of its data and writes it.
   *
   * @return the first failure of the image, behind which nothing more was written; or null
   * @throws IOException if the data did not come
   */
  @Nullable Exception run(Request request) throws IOException {
    int length = (int) request.length();
    Exception failure = null;
    try (Payloads.Payload piece = connection.server().payloads().take(PIECE)) {
      ByteBuffer data = piece.buffer();
      for (int done = 0; done < length; done += data.limit()) {
        in.read(data.clear().limit(Math.min(PIECE, length - done)));
        connection.active();
        if (failure == null) {
          failure = written(data.flip(), request.offset() + done);
        }
      }
    }
    if (failure == null && (request.has(CommandType.FUA) || export.writeThrough())) {
      failure = flushed();
    }
    return failure;
  }

  private @Nullable Exception written(ByteBuffer data, long offset) {
    try {
      export.write(data, offset, false);
      return null;
    } catch (IOException | RuntimeException e) {
      return e;
    }
  }

  private @Nullable Exception flushed() {
    try {
      export.flush();
      return null;
    } catch (IOException | RuntimeException e) {
      return e;
    }
  }
}
