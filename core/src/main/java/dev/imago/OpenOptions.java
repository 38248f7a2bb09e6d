package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.NameResolver;
import dev.imago.image.References;
import dev.imago.image.Secret;
import dev.imago.image.SyncMode;
import dev.imago.storage.FileStorage;
import dev.imago.storage.Storage;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How an image is to be opened. Immutable: each method with an argument returns a changed copy.
 *
 * <p>What the options say of host cache, locks and sync mode holds for the image's backing and data
 * files too; backing images are read-only all the same.
 */
public final class OpenOptions {
  private final References references;
  private @Nullable String format;
  private boolean writable;
  private SyncMode sync = SyncMode.FULL;
  private boolean direct;
  private boolean forceShare;
  private boolean withoutBacking;
  private boolean withoutDataFile;
  private boolean rescue;
  private @Nullable Image backing;
  private @Nullable Storage dataFile;
  private List<@Nullable Secret> keys = List.of();
  private boolean withoutKey;
  private long cacheBytes = -1;
  private boolean nativeAccess = true;
  private int compressionLevel = -1;
  private boolean compatWindow;
  private boolean withoutReuse;
  private @Nullable String snapshot;
  private boolean backingInAnyCase;
  private int writableDepth;
  private @Nullable Boolean lazyRefcounts;
  private @Nullable NameResolver resolver;

  private OpenOptions(References references) {
    this.references = Objects.requireNonNull(references);
  }

  private OpenOptions copy() {
    OpenOptions copy = new OpenOptions(references);
    copy.format = format;
    copy.writable = writable;
    copy.sync = sync;
    copy.direct = direct;
    copy.forceShare = forceShare;
    copy.withoutBacking = withoutBacking;
    copy.withoutDataFile = withoutDataFile;
    copy.rescue = rescue;
    copy.backing = backing;
    copy.dataFile = dataFile;
    copy.keys = keys;
    copy.withoutKey = withoutKey;
    copy.cacheBytes = cacheBytes;
    copy.nativeAccess = nativeAccess;
    copy.compressionLevel = compressionLevel;
    copy.compatWindow = compatWindow;
    copy.withoutReuse = withoutReuse;
    copy.snapshot = snapshot;
    copy.backingInAnyCase = backingInAnyCase;
    copy.writableDepth = writableDepth;
    copy.lazyRefcounts = lazyRefcounts;
    copy.resolver = resolver;
    return copy;
  }

  /** Uses this image as the backing image, even if none is named. */
  OpenOptions backingInAnyCase(Image backing) {
    OpenOptions copy = backing(backing);
    copy.backingInAnyCase = true;
    return copy;
  }

  /** Whether the backing image that was given is used even if none is named. */
  boolean backingInAnyCase() {
    return backingInAnyCase;
  }

  /** Has one backing image opened for writing too: 2 is the one that the top layer names. */
  OpenOptions writableDepth(int depth) {
    OpenOptions copy = copy();
    copy.writableDepth = depth;
    return copy;
  }

  /** Which layer of the chain, counted from 1 at the top, is opened for writing; 0 for none. */
  int writableDepth() {
    return writableDepth;
  }

  /** What these options mean for a backing image of the image they were made for. */
  OpenOptions forBackingImage() {
    OpenOptions copy = copy();
    copy.format = null;
    copy.writable = false;
    copy.withoutBacking = false;
    copy.withoutDataFile = false;
    copy.backing = null;
    copy.backingInAnyCase = false;
    copy.dataFile = null;
    copy.snapshot = null;
    copy.lazyRefcounts = null;
    copy.keys = keys.isEmpty() ? keys : keys.subList(1, keys.size());
    return copy;
  }

  /** What these options mean for a file. */
  FileStorage.Options file(boolean writable) {
    return new FileStorage.Options(writable, direct, !forceShare, nativeAccess);
  }

  /**
   * Read-only, format probed, {@link SyncMode#FULL}, through the host's cache, with locks.
   *
   * @param references which files the image may name inside itself and have opened
   */
  public static OpenOptions of(References references) {
    return new OpenOptions(references);
  }

  /** Which files the image may name inside itself and have opened. */
  public References references() {
    return references;
  }

  /**
   * The format's name as in {@code qemu-img -f}, so that nothing is probed; null to probe.
   *
   * <p>Probing a disk whose guest could write its first sector is dangerous: it may have made it
   * look like a format that names other files.
   */
  public OpenOptions format(@Nullable String format) {
    OpenOptions copy = copy();
    copy.format = format;
    return copy;
  }

  /** The format's name, or null if it is to be probed. */
  public @Nullable String format() {
    return format;
  }

  /** Whether the image may be written to. Takes the lock that excludes every other user. */
  public OpenOptions writable(boolean writable) {
    OpenOptions copy = copy();
    copy.writable = writable;
    return copy;
  }

  /** Whether the image may be written to. */
  public boolean writable() {
    return writable;
  }

  /** How hard the image tries to keep what was flushed. */
  public OpenOptions sync(SyncMode sync) {
    OpenOptions copy = copy();
    copy.sync = Objects.requireNonNull(sync);
    return copy;
  }

  /** How hard the image tries to keep what was flushed. */
  public SyncMode sync() {
    return sync;
  }

  /** Whether files are read and written past the host's cache. */
  public OpenOptions direct(boolean direct) {
    OpenOptions copy = copy();
    copy.direct = direct;
    return copy;
  }

  /** Whether files are read and written past the host's cache. */
  public boolean direct() {
    return direct;
  }

  /** Opens without locks, while someone else may be writing. For read-only images alone. */
  public OpenOptions forceShare(boolean forceShare) {
    OpenOptions copy = copy();
    copy.forceShare = forceShare;
    return copy;
  }

  /** Whether no locks are taken. */
  public boolean forceShare() {
    return forceShare;
  }

  /** Leaves the backing file closed: what the top layer does not have reads as zero. */
  public OpenOptions withoutBacking() {
    OpenOptions copy = copy();
    copy.withoutBacking = true;
    return copy;
  }

  /** Whether the backing file stays closed. */
  public boolean isWithoutBacking() {
    return withoutBacking;
  }

  /**
   * Opens as much of a damaged image as there is, for reading only: see {@link Convert#salvage}. A
   * backing file that is not there, or is no image any more, stands for bytes that cannot be read.
   * Where a file was cut off, what lay behind cannot be read either; without this it reads as zero,
   * and what a lost table mapped as if it had never been written.
   */
  public OpenOptions rescue() {
    OpenOptions copy = copy();
    copy.rescue = true;
    return copy;
  }

  /** Whether damage is read around. */
  public boolean isRescue() {
    return rescue;
  }

  /** Leaves the data file closed: the metadata can be looked at, guest data cannot be read. */
  public OpenOptions withoutDataFile() {
    OpenOptions copy = copy();
    copy.withoutDataFile = true;
    return copy;
  }

  /** Whether the data file stays closed. */
  public boolean isWithoutDataFile() {
    return withoutDataFile;
  }

  /**
   * Uses this image where the top layer names a backing file; the name is not looked at. It belongs
   * to the opened image, which closes it, and is closed too if opening fails. Giving one to an
   * image that names none is an {@link IllegalArgumentException}.
   */
  public OpenOptions backing(@Nullable Image backing) {
    OpenOptions copy = copy();
    copy.backing = backing;
    return copy;
  }

  /** The image to use as the top layer's backing image, or null. */
  public @Nullable Image backing() {
    return backing;
  }

  /**
   * Uses this storage where the top layer names a data file; the name is not looked at. It belongs
   * to the opened image, which closes it, and is closed too if opening fails. Giving one to an
   * image that needs none is an {@link IllegalArgumentException}.
   */
  public OpenOptions dataFile(@Nullable Storage dataFile) {
    OpenOptions copy = copy();
    copy.dataFile = dataFile;
    return copy;
  }

  /** The storage to use as the top layer's data file, or null. */
  public @Nullable Storage dataFile() {
    return dataFile;
  }

  /**
   * What opens the image, if it is encrypted. It stays the caller's, and is not needed any more
   * once the image is open. Without a key an encrypted image is not opened: {@link
   * dev.imago.image.EncryptionKeyException}.
   */
  public OpenOptions key(@Nullable Secret key) {
    return key(0, key);
  }

  /**
   * The same for an image of the backing chain.
   *
   * @param depth 0 for the image itself, 1 for its backing image, and so on
   */
  public OpenOptions key(int depth, @Nullable Secret key) {
    List<@Nullable Secret> changed = new ArrayList<>(keys);
    while (changed.size() <= depth) {
      changed.add(null);
    }
    changed.set(depth, key);
    OpenOptions copy = copy();
    copy.keys = changed;
    return copy;
  }

  /** What opens the image, or null. */
  public @Nullable Secret key() {
    return keys.isEmpty() ? null : keys.getFirst();
  }

  /**
   * Opens encrypted images of the chain without their keys where none is given: their metadata can
   * be looked at, guest data cannot be read or written.
   */
  public OpenOptions withoutKey() {
    OpenOptions copy = copy();
    copy.withoutKey = true;
    return copy;
  }

  /** Whether encrypted images are opened without their keys where none is given. */
  public boolean isWithoutKey() {
    return withoutKey;
  }

  /** Memory for cached metadata of each layer, in bytes; -1 leaves it to the format. */
  public OpenOptions cacheBytes(long cacheBytes) {
    OpenOptions copy = copy();
    copy.cacheBytes = cacheBytes;
    return copy;
  }

  /** Memory for cached metadata of each layer, in bytes, or -1. */
  public long cacheBytes() {
    return cacheBytes;
  }

  /**
   * Whether foreign functions may be used where this process is allowed to. Without, short commands
   * start faster, and much else is slower or missing.
   */
  public OpenOptions nativeAccess(boolean nativeAccess) {
    OpenOptions copy = copy();
    copy.nativeAccess = nativeAccess;
    return copy;
  }

  /** Whether foreign functions may be used. */
  public boolean nativeAccess() {
    return nativeAccess;
  }

  /**
   * How hard {@link Image#compress} tries: -1, the codec's usual level, unless said. 1 is fast; 9
   * is the most that zlib has, 22 zstd; beyond its most a codec does its most.
   */
  public OpenOptions compressionLevel(int level) {
    if (level < -1 || level > 22) {
      throw new IllegalArgumentException("compression level " + level);
    }
    OpenOptions copy = copy();
    copy.compressionLevel = level;
    return copy;
  }

  /** How hard clusters are compressed. */
  public int compressionLevel() {
    return compressionLevel;
  }

  /**
   * Whether zlib-compressed clusters are made so that a reader with a window of 4 KiB can inflate
   * them piece by piece. QEMU's own are so, but QEMU reads others as well. They become longer by a
   * seventh or so.
   */
  public OpenOptions compatWindow(boolean compatWindow) {
    OpenOptions copy = copy();
    copy.compatWindow = compatWindow;
    return copy;
  }

  /** Whether zlib-compressed clusters can be inflated with a window of 4 KiB. */
  public boolean compatWindow() {
    return compatWindow;
  }

  /** Whether host clusters that become free are left alone while the image is open. */
  OpenOptions withoutReuse(boolean withoutReuse) {
    OpenOptions copy = copy();
    copy.withoutReuse = withoutReuse;
    return copy;
  }

  /** Whether host clusters that become free are left alone while the image is open. */
  boolean withoutReuse() {
    return withoutReuse;
  }

  /**
   * Whether a qcow2 image's reference counts may reach the disk late: at close, or when something
   * needs them there. A flush then writes less; after a crash, opening the image for writing begins
   * with a repair, which reads all mappings. A version 2 image refuses it with an {@link
   * dev.imago.image.UnsupportedFeatureException}; other formats have no counts.
   *
   * @param lazyRefcounts null, the default, for what the image says of itself
   */
  public OpenOptions lazyRefcounts(@Nullable Boolean lazyRefcounts) {
    OpenOptions copy = copy();
    copy.lazyRefcounts = lazyRefcounts;
    return copy;
  }

  /** Whether reference counts may reach the disk late; null if the image says so. */
  public @Nullable Boolean lazyRefcounts() {
    return lazyRefcounts;
  }

  /**
   * Opens backing images whose names are those of no file, in all layers; {@link
   * References#anywhere()} is needed, too. Without one such names are refused.
   */
  public OpenOptions resolver(@Nullable NameResolver resolver) {
    OpenOptions copy = copy();
    copy.resolver = resolver;
    return copy;
  }

  /** What opens backing images whose names are those of no file, or null. */
  public @Nullable NameResolver resolver() {
    return resolver;
  }

  /**
   * Shows the disk as it was when an internal snapshot was made, with the size of that time; for
   * reading only. A format without snapshots refuses it with an {@link IllegalArgumentException}.
   *
   * @param idOrName looked for among the ids first; null for the disk as it is now
   */
  public OpenOptions snapshot(@Nullable String idOrName) {
    OpenOptions copy = copy();
    copy.snapshot = idOrName;
    return copy;
  }

  /** The id or name of the snapshot to show, or null. */
  public @Nullable String snapshot() {
    return snapshot;
  }
}
