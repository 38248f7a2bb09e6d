package dev.imago.image;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A passphrase in memory: any bytes, not necessarily text. It never shows itself: neither {@link
 * #toString} nor an exception has its bytes. It belongs to who made it; closing it overwrites the
 * bytes.
 */
public final class Secret implements AutoCloseable {
  private byte @Nullable [] bytes;

  /** Keeps a copy. */
  public Secret(byte[] bytes) {
    this.bytes = bytes.clone();
  }

  /**
   * A copy of the bytes, which the caller overwrites when done.
   *
   * @throws IllegalStateException after {@link #close}
   */
  public synchronized byte[] copy() {
    if (bytes == null) {
      throw new IllegalStateException("the secret was wiped");
    }
    return bytes.clone();
  }

  /** Overwrites the bytes. A second call does nothing. */
  @Override
  public synchronized void close() {
    if (bytes != null) {
      Arrays.fill(bytes, (byte) 0);
      bytes = null;
    }
  }

  @Override
  public String toString() {
    return "Secret";
  }
}
