package dev.imago.qcow2;

import dev.imago.image.Secret;
import dev.imago.image.SyncMode;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** How a qcow2 image is opened. Immutable: each {@code with} method returns a changed copy. */
public final class Qcow2OpenOptions {
  private boolean writable;
  private SyncMode sync = SyncMode.FULL;
  private long l2CacheBytes = 32L << 20;
  private long refcountCacheBytes = 8L << 20;
  private long quarantineBytes = 1L << 30;
  private boolean backing = true;
  private boolean dataFile = true;
  private Compression compression = Compression.USUAL;
  private boolean reuse = true;
  private @Nullable String snapshot;
  private @Nullable Secret key;
  private boolean locked;
  private boolean backed;
  private @Nullable Boolean lazyRefcounts;
  private boolean rescue;

  private Qcow2OpenOptions() {}

  private Qcow2OpenOptions copy() {
    Qcow2OpenOptions copy = new Qcow2OpenOptions();
    copy.writable = writable;
    copy.sync = sync;
    copy.l2CacheBytes = l2CacheBytes;
    copy.refcountCacheBytes = refcountCacheBytes;
    copy.quarantineBytes = quarantineBytes;
    copy.backing = backing;
    copy.dataFile = dataFile;
    copy.compression = compression;
    copy.reuse = reuse;
    copy.snapshot = snapshot;
    copy.key = key;
    copy.locked = locked;
    copy.backed = backed;
    copy.lazyRefcounts = lazyRefcounts;
    copy.rescue = rescue;
    return copy;
  }

  /** Read-only; 32 MiB of L2 tables and 8 MiB of refcount blocks at the most. */
  public static Qcow2OpenOptions defaults() {
    return new Qcow2OpenOptions();
  }

  /** The same, writable or not. For reading only, nothing is ever written to the file. */
  public Qcow2OpenOptions withWritable(boolean value) {
    Qcow2OpenOptions copy = copy();
    copy.writable = value;
    return copy;
  }

  /** Whether the image may be changed. */
  public boolean writable() {
    return writable;
  }

  /** The same with another sync mode: how hard to try to keep what was flushed. */
  public Qcow2OpenOptions withSync(SyncMode value) {
    Qcow2OpenOptions copy = copy();
    copy.sync = Objects.requireNonNull(value);
    return copy;
  }

  /** How hard to try to keep what was flushed. */
  public SyncMode sync() {
    return sync;
  }

  /** The same with other cache limits, in bytes; at least one slice of 4 KiB is kept of each. */
  public Qcow2OpenOptions withCaches(long l2Bytes, long refcountBytes) {
    Qcow2OpenOptions copy = copy();
    copy.l2CacheBytes = l2Bytes;
    copy.refcountCacheBytes = refcountBytes;
    return copy;
  }

  /** Most bytes of L2 tables kept in memory. */
  public long l2CacheBytes() {
    return l2CacheBytes;
  }

  /** Most bytes of refcount blocks kept in memory. */
  public long refcountCacheBytes() {
    return refcountCacheBytes;
  }

  /** The same with another limit, in bytes, for freed space that waits for a flush. */
  public Qcow2OpenOptions withQuarantine(long value) {
    Qcow2OpenOptions copy = copy();
    copy.quarantineBytes = value;
    return copy;
  }

  /** When so much freed space waits for a flush, one is made. */
  public long quarantineBytes() {
    return quarantineBytes;
  }

  /**
   * The same, with or without backing image and data file. Without its backing image, what that
   * would provide reads as zero; without its data file, guest data cannot be read.
   */
  public Qcow2OpenOptions withReferences(boolean openBacking, boolean openDataFile) {
    Qcow2OpenOptions copy = copy();
    copy.backing = openBacking;
    copy.dataFile = openDataFile;
    return copy;
  }

  /**
   * The same with another key.
   *
   * @param newKey opens an encrypted image, or null; it stays the caller's, and is not needed any
   *     more once the image is open
   * @param openLocked whether an encrypted image is opened without a key, too: its metadata can be
   *     looked at, guest data cannot be read or written
   */
  public Qcow2OpenOptions withKey(@Nullable Secret newKey, boolean openLocked) {
    Qcow2OpenOptions copy = copy();
    copy.key = newKey;
    copy.locked = openLocked;
    return copy;
  }

  /** What opens an encrypted image, or null. */
  public @Nullable Secret key() {
    return key;
  }

  /** Whether an encrypted image is opened without its key, if there is none. */
  public boolean locked() {
    return locked;
  }

  /**
   * The same, but an image that names no backing file asks for one too, with an empty name. Zeroes
   * are then written as such even where nothing else could be seen: for an image that is about to
   * get a backing file.
   */
  public Qcow2OpenOptions withBackingInAnyCase(boolean value) {
    Qcow2OpenOptions copy = copy();
    copy.backed = value;
    return copy;
  }

  /** Whether a backing image is asked for even if none is named. */
  public boolean backingInAnyCase() {
    return backed;
  }

  /** Whether the backing image is opened. */
  public boolean backing() {
    return backing;
  }

  /** Whether the data file is opened. */
  public boolean dataFile() {
    return dataFile;
  }

  /**
   * The same with another way of compressing clusters.
   *
   * @param level -1 for the codec's usual one; 0 to 9 for deflate, up to 22 for zstd: more than a
   *     codec has means its highest
   * @param shortWindow whether deflate may refer only 4 KiB back, as QEMU's does, for readers that
   *     keep no more than that; clusters become longer
   */
  public Qcow2OpenOptions withCompression(int level, boolean shortWindow) {
    if (level < -1 || level > 22) {
      throw new IllegalArgumentException("compression level " + level);
    }
    Qcow2OpenOptions copy = copy();
    copy.compression = new Compression(level, shortWindow, compression.portable());
    return copy;
  }

  /** How clusters are compressed. */
  Compression compression() {
    return compression;
  }

  /**
   * The same, with or without using host clusters again that become free while the image is open.
   * Without, where clusters go does not depend on when flushes happen, and what compressed ones
   * hold not on the processor.
   */
  public Qcow2OpenOptions withReuse(boolean value) {
    Qcow2OpenOptions copy = copy();
    copy.reuse = value;
    copy.compression = new Compression(compression.level(), compression.shortWindow(), !value);
    return copy;
  }

  /** Whether freed host clusters are used again. */
  public boolean reuse() {
    return reuse;
  }

  /**
   * The same, with or without refcounts that reach the disk late: at close, or when something needs
   * them there. A flush then writes less; after a crash, opening the image for writing begins with
   * a repair, which reads all mappings.
   *
   * @param value null for what the image says of itself, which is the default; true is refused in
   *     version 2 images
   */
  public Qcow2OpenOptions withLazyRefcounts(@Nullable Boolean value) {
    Qcow2OpenOptions copy = copy();
    copy.lazyRefcounts = value;
    return copy;
  }

  /** Whether refcounts may reach the disk late; null if the image says so. */
  public @Nullable Boolean lazyRefcounts() {
    return lazyRefcounts;
  }

  /**
   * The same, with the disk as it was when a snapshot was made, for reading only.
   *
   * @param idOrName looked for among the ids first; null for the disk as it is now
   */
  public Qcow2OpenOptions withSnapshot(@Nullable String idOrName) {
    Qcow2OpenOptions copy = copy();
    copy.snapshot = idOrName;
    return copy;
  }

  /**
   * The same, for reading around damage or not. Then what lay behind the end of a file that was cut
   * off, and what a part of the L1 table mapped that cannot be read, is an error for whoever reads
   * it, and an image without a refcount table is opened too.
   */
  public Qcow2OpenOptions withRescue(boolean value) {
    Qcow2OpenOptions copy = copy();
    copy.rescue = value;
    return copy;
  }

  /** Whether damage is read around. */
  public boolean rescue() {
    return rescue;
  }

  /** The id or name of the snapshot that is read, or null. */
  public @Nullable String snapshot() {
    return snapshot;
  }
}
