package dev.imago.image;

import dev.imago.storage.Storage.Preallocation;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SeekableByteChannel;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * A virtual disk as its guest sees it.
 *
 * <p>Offsets are <em>guest offsets</em>: bytes from the start of the disk. Any offset and length is
 * served; multiples of {@link #clusterSize()} are fastest. All methods may be called from many
 * threads at once and block. Overlapping requests that run at the same time end in either order,
 * but never touch bytes outside their own range. An interrupt neither ends a request nor closes
 * anything; the thread's interrupt status is kept.
 *
 * <p>A write that returned is seen by every later read, and survives a killed process only after
 * {@link #flush()} returned.
 *
 * <p>A range that does not lie within {@code [0, size()]}, a write to a {@link #readOnly()} image
 * and any call after {@link #close()} is a caller's mistake and ends in an unchecked exception
 * before anything is touched: {@link IndexOutOfBoundsException}, {@link ReadOnlyImageException},
 * {@link IllegalStateException}.
 */
public interface Image extends Closeable {

  /** The name that error messages use: a path or a URI. */
  String name();

  /** The format's name as in {@code qemu-img -f}: {@code raw}, {@code qcow2}. */
  String format();

  /** The disk's size in bytes. */
  long size();

  /** Whether the image was opened for reading only. */
  boolean readOnly();

  /** The unit of allocation in bytes, a power of two; 1 if there is none. */
  int clusterSize();

  /** The image that provides what this layer does not have. */
  Optional<Image> backing();

  /** Fills {@code dst} from its position to its limit. */
  void read(ByteBuffer dst, long guestOffset) throws IOException;

  /** Fills several buffers from one run of guest bytes. */
  default void read(ByteBuffer[] dsts, long guestOffset) throws IOException {
    long at = guestOffset;
    for (ByteBuffer dst : dsts) {
      int length = dst.remaining();
      read(dst, at);
      at += length;
    }
  }

  /**
   * Reads if no disk I/O, no codec and no contended lock is needed.
   *
   * @return false if nothing was read; {@code dst}'s position is then as it was
   */
  boolean readNow(ByteBuffer dst, long guestOffset) throws IOException;

  /** Writes all that remains in {@code src}. */
  default void write(ByteBuffer src, long guestOffset) throws IOException {
    write(new ByteBuffer[] {src}, guestOffset, false);
  }

  /**
   * Writes several buffers as one run of guest bytes.
   *
   * @param fua whether these bytes, and what is needed to find them, must survive a power cut when
   *     this call returns
   */
  void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException;

  /**
   * Compresses whole clusters, by this thread and without holding anything up; the image is changed
   * only by {@link CompressedRun#write()}. What is at a cluster then, of any kind, is replaced.
   * Such clusters are for data that rarely changes: a later {@link #write} to a part of one stores
   * all of it anew, uncompressed.
   *
   * @param src its remaining bytes; they must stay as they are until {@code write()} has returned
   * @param guestOffset a multiple of {@link #clusterSize()}; so must the length be, unless it ends
   *     with the disk
   * @throws UnsupportedFeatureException if this image cannot hold compressed clusters: its format
   *     has none, or it keeps its data in a data file, or encrypts it
   * @throws IllegalArgumentException if the range is not made of whole clusters
   */
  default CompressedRun compress(ByteBuffer src, long guestOffset) throws IOException {
    throw new UnsupportedFeatureException(
        name(), -1, "compressed clusters", "images of format " + format() + " have none");
  }

  /** As {@link #compress}, and writes what comes of it. */
  default void writeCompressed(ByteBuffer src, long guestOffset) throws IOException {
    try (CompressedRun run = compress(src, guestOffset)) {
      run.write();
    }
  }

  /**
   * Makes exactly this range read as zero.
   *
   * @param mayUnmap whether host space may be given back for it; without, allocated space is kept
   *     where the format can say so
   */
  void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua) throws IOException;

  /**
   * Changes whole clusters inside a range to a fixed kind of mapping. The start is rounded up to a
   * cluster and the end down, but up where it is the image's end.
   *
   * @return the range really affected, as the caller sees it; its length may be 0
   */
  Range discard(long guestOffset, long length, Discard kind) throws IOException;

  /**
   * Where this layer keeps the bytes at {@code guestOffset}, and how far that goes. Costs at most
   * the reading of one piece of metadata; never more to make the answer longer.
   *
   * @param maxLength at least 1; the answer is no longer
   */
  Mapping map(long guestOffset, long maxLength) throws IOException;

  /**
   * As {@link #map}, followed through the backing chain: never {@link Mapping.Backing}. Behind the
   * end of a shorter backing image everything is {@link Mapping.Unallocated}.
   */
  default Extent resolve(long guestOffset, long maxLength) throws IOException {
    return Extents.resolve(this, guestOffset, maxLength);
  }

  /**
   * The read plan: who would provide these bytes, without reading them. Neighbours of one kind are
   * merged where they follow one another. The stream throws {@link java.io.UncheckedIOException}.
   */
  default Stream<Extent> extents(long guestOffset, long length) {
    return Extents.stream(this, guestOffset, length);
  }

  /**
   * Makes a run of guest bytes directly writable, for callers that do their own I/O. What is
   * returned may be shorter than asked, but covers at least the first byte.
   *
   * @param overwrite true if the caller will write every byte of the run, so that nothing old needs
   *     to be copied there
   */
  WritableRun reserve(long guestOffset, long length, boolean overwrite) throws IOException;

  /** Keeps host space that is mapped now from being used for anything else until closed. */
  Pin pin();

  /** Makes every write that returned before this call survive a power cut. */
  void flush() throws IOException;

  /**
   * Sets the disk's size. New bytes read as zero. If the disk cannot be made longer it stays as
   * long as it was.
   *
   * @param size in bytes; the format says which multiples it allows
   * @param shrink must be true if bytes are to be cut off
   */
  void resize(long size, Preallocation preallocation, boolean shrink) throws IOException;

  /**
   * Makes the disk longer and gives every cluster of the new part its place, so that later writes
   * there change no mapping. No host space is reserved: the places are holes and read as zero.
   *
   * @param size in bytes, not below {@link #size()}; the format says which multiples it allows
   * @throws UnsupportedFeatureException if the format has no mapping
   */
  default void growMapped(long size) throws IOException {
    throw new UnsupportedFeatureException(
        name(), -1, "mapping", "images of format " + format() + " have none");
  }

  /** Forgets cached metadata, because someone else changed the image (live migration). */
  void invalidateCache() throws IOException;

  /**
   * A channel over the guest's bytes. It cannot grow the disk; closing it leaves the image open.
   */
  default SeekableByteChannel channel() {
    return new ImageChannel(this);
  }

  /**
   * Waits for running requests, flushes, and releases everything, backing images opened with this
   * one included. A second call does nothing.
   *
   * @throws IOException if something that was written may not be durable; all is released even so
   */
  @Override
  void close() throws IOException;

  /** What a discarded cluster becomes. */
  enum Discard {
    /** Reads as zero; host space is given back. */
    TO_ZERO,
    /** Reads as zero; host space stays reserved for it where there is any. */
    TO_ZERO_KEEPING_SPACE,
    /** Reads as zero or as old data behind it: whatever gives back most. */
    TO_ANY,
    /** The layer's mapping is removed: the backing image appears again. */
    TO_BACKING
  }

  /** A range of guest bytes; the length may be 0. */
  record Range(long guestOffset, long length) {}

  /** Keeps mappings true while it is open. Cheap, but a pin held long keeps host space occupied. */
  interface Pin extends AutoCloseable {
    @Override
    void close();
  }
}
