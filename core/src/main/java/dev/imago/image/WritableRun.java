package dev.imago.image;

import dev.imago.storage.Storage;
import java.io.Closeable;
import java.io.IOException;

/**
 * Host space made ready for a caller's own writes. The caller writes to {@link #storage()} at
 * {@link #hostOffset()}, then calls {@link #commit()}; closing without it gives the space back and
 * leaves the guest's bytes as they were. Other writes to the same clusters wait until then.
 *
 * <p>The space may be what a range had that was zeroed since the last flush: like any write that
 * failed, one that is not committed may then be found there after a crash.
 */
public interface WritableRun extends Closeable {
  /** Where to write. */
  Storage storage();

  /** From where on, in bytes. */
  long hostOffset();

  /** How many bytes, at least 1. */
  long length();

  /** Links what was written: the guest sees it from now on. */
  void commit() throws IOException;

  /** Gives the space back if {@link #commit()} was not called. A second call does nothing. */
  @Override
  void close() throws IOException;
}
