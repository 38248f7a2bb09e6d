package dev.imago.nbd;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * A connected stream of bytes between the two ends of NBD: a socket, in clear or under TLS.
 *
 * <p>One thread may read while others write; readers keep each other out themselves, writes are
 * done one after the other. Methods block.
 */
sealed interface Transport extends Closeable permits PlainTransport, TlsTransport {

  /**
   * Reads what is there, waiting for the first byte.
   *
   * @param dst with room for a byte at least
   * @return the number of bytes, at least 1; or -1 if the other end has said its last
   */
  int read(ByteBuffer dst) throws IOException;

  /**
   * Whether the other end has sent something that was not read yet, or has said its last. While
   * nobody else reads or writes.
   *
   * @param dst may be given what there is
   * @param nanos how long to look for it, again and again, without giving up the processor; 0 looks
   *     once
   */
  boolean more(ByteBuffer dst, long nanos) throws IOException;

  /** Writes all that remains in the buffers, one after the other, with nothing in between. */
  void write(ByteBuffer... srcs) throws IOException;

  /** Tells the other end that nothing more will be written. May wait for it to read. */
  void end() throws IOException;

  /** Closes the socket at once; whoever reads or writes gets an IOException. */
  @Override
  void close() throws IOException;
}
