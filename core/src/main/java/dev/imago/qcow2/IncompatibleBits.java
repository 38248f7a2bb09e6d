package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * The header's incompatible feature bits as they are on the disk now, and, but for {@link
 * HeaderUpdate} and its kin, which keep what they find there, the only writer of that field. Only
 * for version 3 images: others do not have it.
 *
 * <p>A change is one write of 8 bytes in one sector, without a barrier: when it must be safe is the
 * caller's to say. Many threads may call: a bit that one sets is not lost by another.
 *
 * <p>Spec: qcow2 digest, section 3, "incompatible_features".
 */
final class IncompatibleBits {
  private final Storage storage;
  private long bits;

  IncompatibleBits(Storage storage, Header header) {
    this.storage = storage;
    this.bits = header.incompatible();
  }

  /** Sets bits, and leaves the others as they are. */
  synchronized void set(long wanted) throws IOException {
    write(bits | wanted);
  }

  /** Clears bits, and leaves the others as they are. */
  synchronized void clear(long unwanted) throws IOException {
    write(bits & ~unwanted);
  }

  /** Goes on with what somebody else made of the header. */
  synchronized void reload(Header header) {
    bits = header.incompatible();
  }

  private void write(long changed) throws IOException {
    storage.write(ByteBuffer.allocate(Long.BYTES).putLong(changed).flip(), Header.AT_INCOMPATIBLE);
    bits = changed;
  }
}
