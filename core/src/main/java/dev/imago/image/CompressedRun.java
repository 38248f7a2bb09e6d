package dev.imago.image;

import java.io.Closeable;
import java.io.IOException;

/** Guest bytes that are compressed already, but not yet part of their image. */
public interface CompressedRun extends Closeable {
  /**
   * Puts the bytes into the image, in place of what was there. Clusters that compressing does not
   * make shorter are stored as they are, from the buffer that was compressed. Once only.
   *
   * @throws IllegalStateException after the first call, or after {@link #close()}
   */
  void write() throws IOException;

  /** Gives the memory back. A second call does nothing. */
  @Override
  void close();
}
