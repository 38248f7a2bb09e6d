package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.image.Image.Range;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.BitmapsExtension;
import dev.imago.qcow2.ondisk.Bytes;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;

/**
 * The dirty bitmaps that a qcow2 image keeps: which granules of the disk were changed since a
 * bitmap was made or cleared. An enabled bitmap notes every write, zero and discard from before it
 * is done; it may call more dirty than has changed, never less.
 *
 * <p>While an image that was changed is open, the disk says of its enabled bitmaps that they are in
 * use. Closing the image writes them. If it is never closed they are inconsistent from then on.
 * What the methods here change is durable when they return.
 *
 * <p>All methods may be called from many threads. Those that change something hold the guest's
 * requests back and wait for those under way. They end in {@link ReadOnlyImageException} on an
 * image opened for reading, and in {@link IllegalArgumentException} for a name that is not there,
 * or should not be, before anything is changed.
 */
public final class Bitmaps {
  private static final int MAX_DEFAULT_GRANULARITY = 64 << 10;
  private static final int MIN_DEFAULT_GRANULARITY = 4 << 10;

  private final Metadata metadata;
  final BitmapDirectory directory;
  private final boolean readOnly;
  private final Map<String, Known> unchanging = new ConcurrentHashMap<>();

  /** Bits of a bitmap as it was when its directory was read. */
  private record Known(Bitmap bitmap, DirtyBits bits) {
    @SuppressWarnings("ReferenceEquality") // read anew, it may have other bits and look the same
    boolean isOf(Bitmap other) {
      return bitmap == other;
    }
  }

  Bitmaps(Metadata metadata, boolean readOnly) {
    this.metadata = metadata;
    this.directory = metadata.bitmaps;
    this.readOnly = readOnly;
  }

  /** Whether an image of this version can keep bitmaps: 3, not 2. */
  public boolean supported() {
    return metadata.geometry.version() >= 3;
  }

  /** All bitmaps in the order of the image's directory. */
  public List<BitmapInfo> list() throws IOException {
    return directory.bitmaps().stream().map(Bitmaps::info).toList();
  }

  private static BitmapInfo info(Bitmap bitmap) {
    BitmapDirectoryEntry entry = bitmap.entry();
    return new BitmapInfo(
        entry.name(), 1L << entry.granularityBits(), entry.auto(), !bitmap.usable());
  }

  /** The granularity that a new bitmap gets if nobody says one, in bytes: 4 KiB to 64 KiB. */
  public long defaultGranularity() {
    return Math.clamp(
        metadata.geometry.clusterSize(), MIN_DEFAULT_GRANULARITY, MAX_DEFAULT_GRANULARITY);
  }

  /**
   * Makes a bitmap that calls nothing dirty.
   *
   * @param name 1 to 1023 bytes of UTF-8 without NUL
   * @param granularity a power of two, 512 bytes to 2 GiB
   * @param enabled whether it notes changes from now on
   * @throws UnsupportedFeatureException if the image is of version 2, which keeps no bitmaps
   * @throws IllegalArgumentException also if the image has 65535 bitmaps, no room in its header, or
   *     the bitmap would be too long
   */
  public void add(String name, long granularity, boolean enabled) throws IOException {
    if (granularity < 1L << BitmapDirectoryEntry.MIN_GRANULARITY_BITS
        || granularity > 1L << BitmapDirectoryEntry.MAX_GRANULARITY_BITS
        || Long.bitCount(granularity) != 1) {
      throw new IllegalArgumentException("Granularity must be power of 2 and at least 512");
    }
    if (name.isEmpty()) {
      throw new IllegalArgumentException("Bitmap name cannot be empty");
    }
    Bytes bytes = Bytes.of(name);
    if (bytes.size() > BitmapDirectoryEntry.MAX_NAME || name.indexOf('\0') >= 0) {
      throw new IllegalArgumentException("Bitmap name too long");
    }
    change(
        bitmaps -> {
          if (find(bitmaps, name) >= 0) {
            throw new IllegalArgumentException("Bitmap already exists: " + name);
          }
          requireVersion3();
          int bits = Long.numberOfTrailingZeros(granularity);
          long size = metadata.size();
          directory.checkSize(size, bits, name);
          bitmaps.add(Bitmap.made(bytes, bits, enabled, size));
          requireLimits(bitmaps);
        });
  }

  private void requireVersion3() throws UnsupportedFeatureException {
    if (!supported()) {
      throw new UnsupportedFeatureException(
          metadata.name, -1, "bitmap", "Cannot store dirty bitmaps in qcow2 v2 files");
    }
  }

  private static void requireLimits(List<Bitmap> bitmaps) {
    if (bitmaps.size() > BitmapsExtension.MAX_BITMAPS) {
      throw new IllegalArgumentException("Maximum number of persistent bitmaps is already reached");
    }
    long bytes = bitmaps.stream().mapToLong(bitmap -> bitmap.entry().length()).sum();
    if (bytes > BitmapsExtension.MAX_DIRECTORY_BYTES) {
      throw new IllegalArgumentException("Not enough space in the bitmap directory");
    }
  }

  /** Removes a bitmap, inconsistent or not. */
  public void remove(String name) throws IOException {
    change(bitmaps -> bitmaps.remove(require(bitmaps, name)));
  }

  /** Calls nothing dirty any more. */
  public void clear(String name) throws IOException {
    replace(
        name,
        bitmap -> {
          DirtyBits bits = directory.emptyBits(bitmap);
          bits.clear();
          return bitmap.with(bits);
        });
  }

  /** Notes changes from now on. */
  public void enable(String name) throws IOException {
    replace(name, bitmap -> bitmap.with(directory.bits(bitmap)).enabled(true));
  }

  /** Notes no changes any more, and keeps what was noted. */
  public void disable(String name) throws IOException {
    replace(name, bitmap -> bitmap.enabled(false));
  }

  /** Calls dirty, in {@code target}, what {@code source} calls dirty. */
  public void merge(String target, String source) throws IOException {
    merge(target, this, source);
  }

  /**
   * Calls dirty, in {@code target}, what a bitmap of another image calls dirty. Granularities may
   * differ; where a granule is dirty in part all of it is.
   *
   * @throws IllegalArgumentException also if the disks' sizes differ
   */
  public void merge(String target, Bitmaps from, String source) throws IOException {
    if (from.metadata.size() != metadata.size()) {
      throw new IllegalArgumentException(
          ("Bitmaps are of different sizes (destination size is %d, source size is %d) and can't"
                  + " be merged")
              .formatted(metadata.size(), from.metadata.size()));
    }
    requireUsable(metadata.name, directory.bitmaps().get(require(directory.bitmaps(), target)));
    boolean same = from.metadata == metadata;
    DirtyBits foreign = same ? null : from.bits(source);
    replace(
        target,
        bitmap -> {
          DirtyBits merged = directory.emptyBits(bitmap);
          merged.merge(directory.bits(bitmap));
          merged.merge(foreign != null ? foreign : bits(source));
          return bitmap.with(merged);
        });
  }

  /**
   * Dirty ranges of the disk, ascending, each as long as it can be. Of an enabled bitmap the answer
   * is of the moment at which the stream is asked for more.
   *
   * @throws UnsupportedFeatureException if the bitmap is inconsistent
   */
  public Stream<Range> dirtyExtents(String name) throws IOException {
    return bits(name).extents();
  }

  /**
   * The dirty part of a range of the disk, likewise.
   *
   * @throws IndexOutOfBoundsException if the range does not lie within the disk
   */
  public Stream<Range> dirtyExtents(String name, long guestOffset, long length) throws IOException {
    Objects.checkFromIndexSize(guestOffset, length, metadata.size());
    return bits(name).extents(guestOffset, length);
  }

  /** Bytes of the disk in granules that a bitmap calls dirty. */
  public long dirtyBytes(String name) throws IOException {
    return bits(name).dirtyBytes();
  }

  private DirtyBits bits(String name) throws IOException {
    List<Bitmap> bitmaps = directory.bitmaps();
    Bitmap bitmap = bitmaps.get(require(bitmaps, name));
    requireUsable(metadata.name, bitmap);
    // Nobody changes the disk of an image that is open for reading: once is enough, until the
    // directory is read anew because somebody has.
    Known known = readOnly ? unchanging.get(name) : null;
    if (known != null && known.isOf(bitmap)) {
      return known.bits;
    }
    DirtyBits bits = directory.bits(bitmap);
    if (readOnly) {
      unchanging.put(name, new Known(bitmap, bits));
    }
    return bits;
  }

  /** Refuses a bitmap whose bits cannot be relied on. */
  static void requireUsable(String image, Bitmap bitmap) throws UnsupportedFeatureException {
    if (!bitmap.usable()) {
      throw new UnsupportedFeatureException(
          image,
          -1,
          "bitmap",
          "Bitmap '%s' is inconsistent and cannot be used".formatted(bitmap.name()),
          "Try block-dirty-bitmap-remove to delete this bitmap from disk");
    }
  }

  private static int find(List<Bitmap> bitmaps, String name) {
    for (int i = 0; i < bitmaps.size(); i++) {
      if (bitmaps.get(i).name().equals(name)) {
        return i;
      }
    }
    return -1;
  }

  private static int require(List<Bitmap> bitmaps, String name) {
    int found = find(bitmaps, name);
    if (found < 0) {
      throw new IllegalArgumentException("Dirty bitmap '" + name + "' not found");
    }
    return found;
  }

  /** What one bitmap becomes. */
  private interface Replacement {
    Bitmap of(Bitmap bitmap) throws IOException;
  }

  private void replace(String name, Replacement replacement) throws IOException {
    change(
        bitmaps -> {
          int index = require(bitmaps, name);
          Bitmap bitmap = bitmaps.get(index);
          requireUsable(metadata.name, bitmap);
          bitmaps.set(index, replacement.of(bitmap));
        });
  }

  /** A change of the list of bitmaps. */
  private interface Change {
    void run(List<Bitmap> bitmaps) throws IOException;
  }

  private void change(Change change) throws IOException {
    if (readOnly) {
      throw new ReadOnlyImageException(metadata.name);
    }
    metadata.requests.exclusive();
    try {
      metadata.durability.suspendLateCounts();
      metadata.durability.requireHealthy();
      // Refused before anything is written if it cannot be done.
      change.run(new ArrayList<>(directory.bitmaps()));
      metadata.beforeChange();
      List<Bitmap> changed = new ArrayList<>(directory.bitmaps());
      change.run(changed);
      directory.store(changed, false);
    } catch (CorruptImageException e) {
      metadata.markCorrupt(e);
      throw e;
    } finally {
      metadata.durability.resumeLateCounts();
      metadata.requests.reopen();
    }
  }
}
