package dev.imago.storage;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Where an image's bytes are kept: a file, a block device, memory, an NBD export.
 *
 * <p>All offsets are <em>host offsets</em>: bytes from the start of this storage, never negative.
 * There is no current position, so every method may be called from many threads at once;
 * overlapping writes end in either order. Methods block. An interrupted thread leaves the storage
 * open and the other threads unharmed; its interrupt status is kept.
 *
 * <p>Requests need no alignment, whatever {@link #requestAlignment()} says: a storage that bypasses
 * the host's cache bounces what is not aligned, and serialises its read-modify-write cycles against
 * overlapping writers. Aligned requests are faster.
 */
public interface Storage extends Closeable {

  /** The name that error messages use: a path or a URI. */
  String name();

  /** Whether every call that would change this storage is refused. */
  boolean readOnly();

  /**
   * The unit of this storage's requests below which it must bounce.
   *
   * @return a power of two, in bytes; 1 unless the host cache is bypassed
   */
  int requestAlignment();

  /**
   * Fills {@code dst} from its position to its limit with what is kept from {@code hostOffset} on.
   * Bytes past the end read as zero.
   *
   * @throws IOException if the operating system failed; the contents of {@code dst} are undefined
   */
  void read(ByteBuffer dst, long hostOffset) throws IOException;

  /** Fills several buffers one after the other from one run of bytes, as {@link #read} does. */
  default void read(ByteBuffer[] dsts, long hostOffset) throws IOException {
    long at = hostOffset;
    for (ByteBuffer dst : dsts) {
      int length = dst.remaining();
      read(dst, at);
      at += length;
    }
  }

  /**
   * Has the device read bytes into memory, without waiting for them. A hint: errors are met by who
   * reads. For all threads.
   *
   * @param hostOffset in bytes; what lies behind the end is left out
   * @param length in bytes
   * @return whether a {@link #read} soon after this finds them on their way; false where this can
   *     do nothing
   */
  default boolean prefetch(long hostOffset, long length) {
    return false;
  }

  /**
   * Reads if that needs no waiting for a device.
   *
   * @return false if nothing was read: the caller falls back to {@link #read}; {@code dst} is then
   *     as it was, but for the bytes between its position and limit, which are undefined
   */
  default boolean readNow(ByteBuffer dst, long hostOffset) throws IOException {
    return false;
  }

  /**
   * Writes all that remains in {@code src}. A write past the end makes the storage longer where its
   * kind can grow; bytes skipped over read as zero.
   *
   * @throws IOException if the operating system failed; any part may have been written
   */
  void write(ByteBuffer src, long hostOffset) throws IOException;

  /** Writes several buffers one after the other as one run of bytes. */
  default void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    long at = hostOffset;
    for (ByteBuffer src : srcs) {
      int length = src.remaining();
      write(src, at);
      at += length;
    }
  }

  /**
   * Has the host copy bytes of another storage into this one, as a write would: they do not pass
   * through this process, and file systems that can (XFS, Btrfs) let both share their space. What
   * this leaves undone the caller reads and writes, which also tells what was in the way.
   *
   * @param source where the bytes are; they must not overlap what they are copied onto
   * @param sourceOffset host offset of the first of them in {@code source}
   * @param hostOffset where the first of them goes in this storage
   * @param length in bytes
   * @return how many bytes from the first on are copied: 0 where this cannot be done, and not more
   *     than {@code source} has up to its end
   */
  default long copyFrom(Storage source, long sourceOffset, long hostOffset, long length)
      throws IOException {
    return 0;
  }

  /**
   * Makes {@code length} bytes from {@code hostOffset} read as zero, exactly these, whatever their
   * alignment; past the end the storage grows.
   *
   * @param mode whether the range may become a hole or must own host space afterwards
   */
  void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException;

  /**
   * Whether {@link #writeZeroes} on whole blocks costs much less than writing the zeroes. A guess
   * for choosing a way, never needed for a right result.
   */
  default boolean zeroesCheaply() {
    return false;
  }

  /**
   * Whether holes, and what lies behind the end, read as zero. They do, but where the bytes are
   * decrypted on their way: there only what was written is known, {@link #run} calls everything
   * data, and {@link #discard} leaves anything behind.
   */
  default boolean holesReadAsZero() {
    return true;
  }

  /**
   * Gives host space back where the storage can. What can be given back reads as zero afterwards;
   * what cannot (partial blocks, no support) keeps its bytes. The size stays.
   *
   * @return true if the whole range reads as zero now
   */
  boolean discard(long hostOffset, long length) throws IOException;

  /**
   * What is kept at {@code hostOffset}, and how far that goes. Never longer than {@code maxLength};
   * the answer may be shorter than the real run. A storage that cannot tell says DATA.
   *
   * @param hostOffset below {@link #size()}
   * @param maxLength at least 1
   */
  Run run(long hostOffset, long maxLength) throws IOException;

  /** The size in bytes, asked anew at each call: it may be changed by others. */
  long size() throws IOException;

  /** Host space in use, in bytes, or -1 if that is not known. */
  default long allocatedBytes() throws IOException {
    return -1;
  }

  /**
   * Whether {@link #resize} is refused, because this storage always has one size: a block device.
   */
  default boolean fixedSize() {
    return false;
  }

  /**
   * Sets the size. New bytes read as zero.
   *
   * @param preallocation how the new part gets its host space; ignored when shrinking
   */
  void resize(long size, Preallocation preallocation) throws IOException;

  /**
   * Makes every write that returned before this call survive a power cut. The only ordering promise
   * a storage gives: writes between two flushes may reach the disk in any order.
   *
   * @throws IOException if durability is unknown; after that, treat the image as in need of a check
   */
  void flush() throws IOException;

  /**
   * Told what the format above is about to do, on the thread that does it. For storages that inject
   * faults; may hold the thread up.
   */
  default void event(BlockEvent event) {}

  /** Forgets what this process cached of the contents, because someone else wrote there. */
  default void invalidateCache() throws IOException {}

  /** Releases locks and descriptors. Does not flush. A second call does nothing. */
  @Override
  void close() throws IOException;

  /** How zeroes are to be kept. */
  enum ZeroMode {
    /** The range may become a hole: host space is given back where that is possible. */
    SPARSE,
    /** The range owns its host space afterwards, so that later writes do not run out of it. */
    ALLOCATED
  }

  /** How new space is provided. */
  enum Preallocation {
    /** A hole. */
    OFF,
    /** Host space is reserved by the file system, nothing is written. */
    FALLOC,
    /** Zeroes are written. */
    FULL
  }

  /**
   * A run of host bytes of one kind.
   *
   * @param data true if the bytes are kept; false for a hole, which reads as zero
   * @param length in bytes, at least 1
   */
  record Run(boolean data, long length) {}
}
