package dev.imago.qcow2;

import dev.imago.image.ImageException;
import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.BitmapTableEntry;
import dev.imago.qcow2.ondisk.BitmapsExtension;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.HeaderCluster;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * The dirty bitmaps of an open image, and how they get to the disk.
 *
 * <p>The first change of an image sets the in-use flag of every bitmap that is to note changes, on
 * the disk, before anything else: a crash leaves bitmaps that say themselves that they are stale.
 * Storing writes bits, tables and a directory to new clusters, behind a barrier leads the header to
 * them, and gives the old ones back. See docs/durability.md.
 *
 * <p>{@link #mark} takes no lock and may be called by many threads at once. All else happens under
 * this object's monitor; {@link #store} and {@link #resized} while no request is under way.
 */
final class BitmapDirectory {
  private final Metadata metadata;
  private final BitmapData data;
  private final BitmapsPointer pointer;

  /** As on the disk, but for bits that are newer. */
  private List<Bitmap> bitmaps = List.of();

  private long hostOffset;
  private long length;
  private boolean begun;

  /** Bits of the bitmaps that note changes. */
  private volatile DirtyBits[] tracking = {};

  BitmapDirectory(Metadata metadata) {
    this.metadata = metadata;
    this.data = new BitmapData(metadata.name, metadata.storage, metadata.geometry);
    this.pointer = new BitmapsPointer(metadata.storage, metadata.durability);
  }

  /** Reads what the disk says; nothing may be newer in memory. */
  synchronized void load(HeaderCluster cluster) throws IOException {
    BitmapsExtension extension = cluster.bitmaps().orElse(null);
    List<Bitmap> found = new ArrayList<>();
    long at = 0;
    long bytes = 0;
    if (extension != null) {
      at = extension.directoryOffset();
      bytes = extension.directorySize();
      for (BitmapDirectoryEntry entry :
          Qcow2Info.readBitmapDirectory(metadata.storage, cluster, extension)) {
        found.add(Bitmap.of(entry, cluster.header().guestSize(), metadata.geometry));
      }
    }
    begun = false;
    tracking = new DirtyBits[0];
    bitmaps = List.copyOf(found);
    moveTo(at, bytes);
  }

  /** All bitmaps, in the order of the directory. */
  synchronized List<Bitmap> bitmaps() {
    return bitmaps;
  }

  /** The bits of a usable bitmap; those on the disk if memory has none. */
  synchronized DirtyBits bits(Bitmap bitmap) throws IOException {
    DirtyBits bits = bitmap.bits();
    return bits != null ? bits : data.read(bitmap.entry(), metadata.size());
  }

  /** Bits for a bitmap, none of which is set. */
  DirtyBits emptyBits(Bitmap bitmap) {
    return new DirtyBits(metadata.size(), bitmap.entry().granularityBits());
  }

  /** Refuses a bitmap that would be too long. */
  void checkSize(long size, int granularityBits, String name) {
    data.requireLimit(size, granularityBits, name);
  }

  /** Notes a change of guest bytes, before it is made. */
  void mark(long guestOffset, long length) {
    for (DirtyBits bits : tracking) {
      bits.mark(guestOffset, length);
    }
  }

  /** Makes bitmaps ready for the first change of the image. */
  synchronized void begin() throws IOException {
    if (begun) {
      return;
    }
    List<Bitmap> ready = new ArrayList<>();
    for (Bitmap bitmap : bitmaps) {
      boolean changes = bitmap.entry().auto() && !bitmap.entry().inUse();
      ready.add(changes ? loaded(bitmap).inUse(true) : bitmap);
    }
    writeInPlace(ready);
    goOnWith(ready);
    begun = true;
  }

  /** With its bits in memory. What the disk says cannot be used if they are broken there. */
  private Bitmap loaded(Bitmap bitmap) throws IOException {
    if (!bitmap.usable() || bitmap.bits() != null) {
      return bitmap;
    }
    try {
      return bitmap.with(data.read(bitmap.entry(), metadata.size()));
    } catch (ImageException e) {
      return bitmap.unusable();
    }
  }

  /** Writes other flags where the directory is. None of them lies in two sectors. */
  private void writeInPlace(List<Bitmap> changed) throws IOException {
    if (!changed.equals(bitmaps) && !metadata.events.skipsInUse()) {
      metadata.durability.writeLinked(directory(changed), hostOffset);
    }
  }

  private static ByteBuffer directory(List<Bitmap> entries) {
    int bytes = entries.stream().mapToInt(bitmap -> bitmap.entry().length()).sum();
    ByteBuffer directory = ByteBuffer.allocate(bytes);
    entries.forEach(bitmap -> bitmap.entry().write(directory));
    return directory.flip();
  }

  private void goOnWith(List<Bitmap> next) {
    bitmaps = List.copyOf(next);
    tracking = next.stream().filter(Bitmap::tracking).map(Bitmap::bits).toArray(DirtyBits[]::new);
  }

  /** Refuses a size that bitmaps cannot follow. */
  synchronized void checkResize(long newSize) throws IOException {
    for (Bitmap bitmap : bitmaps) {
      Bitmaps.requireUsable(metadata.name, bitmap);
      data.requireLimit(newSize, bitmap.entry().granularityBits(), bitmap.name());
    }
  }

  /** Nobody may rely on what the disk says of bitmaps while the disk's size changes. */
  synchronized void beforeResize() throws IOException {
    List<Bitmap> ready = new ArrayList<>();
    for (Bitmap bitmap : bitmaps) {
      ready.add(bitmap.usable() ? loaded(bitmap).inUse(true) : bitmap);
    }
    writeInPlace(ready);
    goOnWith(ready);
  }

  /** The disk has this size now. What is new counts as changed. */
  synchronized void resized(long oldSize, long newSize) {
    for (Bitmap bitmap : bitmaps) {
      DirtyBits bits = bitmap.bits();
      if (bits != null && newSize != oldSize) {
        bits.resize(newSize);
        if (bitmap.tracking()) {
          bits.mark(oldSize, newSize - oldSize);
        }
      }
    }
  }

  /** What the disk says of bitmaps that note no changes can be relied on again. */
  synchronized void afterResize() throws IOException {
    if (!bitmaps.isEmpty()) {
      store(bitmaps, false);
    }
  }

  /** Stores what has changed since the image was opened. The last thing before it is closed. */
  synchronized void close() throws IOException {
    if (begun && bitmaps.stream().anyMatch(each -> each.usable() && each.entry().inUse())) {
      store(bitmaps, true);
    }
  }

  /**
   * Makes these the image's bitmaps. They are durable when this returns. If it fails, the old ones
   * are the image's still.
   *
   * @param closing whether nothing is changed any more, so that nobody has to distrust the disk
   */
  synchronized void store(List<Bitmap> wanted, boolean closing) throws IOException {
    List<Allocator.Taken> taken = new ArrayList<>();
    List<DirtyBits> written = new ArrayList<>();
    List<Bitmap> stored = new ArrayList<>();
    List<long[]> garbage;
    long at = 0;
    try {
      metadata.durability.requireHealthy();
      for (Bitmap bitmap : wanted) {
        stored.add(bitmap.usable() ? toDisk(bitmap, closing, taken, written) : bitmap);
      }
      ByteBuffer directory = directory(stored);
      long bytes = directory.remaining();
      garbage = garbage(stored);
      if (bytes > 0) {
        Allocator.Taken place = metadata.allocator.takeTogether(metadata.geometry.clusters(bytes));
        taken.add(place);
        at = metadata.geometry.clusterOffset(place.firstCluster());
        metadata.storage.write(directory, at);
      }
      metadata.durability.tableWritten();
      metadata.durability.flush();
      if (bytes > 0) {
        pointer.set(new BitmapsExtension(stored.size(), bytes, at));
      } else if (length > 0) {
        pointer.remove();
      }
      moveTo(at, bytes);
    } catch (IOException | RuntimeException e) {
      taken.forEach(run -> metadata.giveBack(run, e));
      throw e;
    }
    metadata.lock.lock();
    try {
      garbage.forEach(run -> metadata.freed(run[0], run[1]));
    } finally {
      metadata.lock.unlock();
    }
    written.forEach(DirtyBits::kept);
    goOnWith(stored);
  }

  /** Writes a bitmap's bits if those on the disk are older and somebody will ask for them. */
  private Bitmap toDisk(
      Bitmap bitmap, boolean closing, List<Allocator.Taken> taken, List<DirtyBits> written)
      throws IOException {
    boolean goesOn = bitmap.tracking() && !closing;
    DirtyBits bits = bitmap.bits();
    BitmapDirectoryEntry entry = bitmap.entry();
    if (bits != null && (!bitmap.stored() || (bits.changed() && !goesOn))) {
      entry = data.write(entry, bits, metadata.size(), metadata.allocator, taken);
      written.add(bits);
    }
    return bitmap.with(entry).inUse(goesOn);
  }

  /** Runs of clusters that the disk's directory uses, and the new one will not. */
  private List<long[]> garbage(List<Bitmap> stored) {
    Geometry geometry = metadata.geometry;
    List<long[]> runs = new ArrayList<>();
    if (length > 0) {
      runs.add(new long[] {geometry.clusterIndex(hostOffset), geometry.clusters(length)});
    }
    Set<Long> tables =
        stored.stream().map(bitmap -> bitmap.entry().tableOffset()).collect(Collectors.toSet());
    for (Bitmap bitmap : bitmaps) {
      BitmapDirectoryEntry entry = bitmap.entry();
      if (!tables.contains(entry.tableOffset()) && entry.tableSize() > 0) {
        addContents(entry, runs);
      }
    }
    return runs;
  }

  /** A table, and what it leads to. If it cannot be read all of it is leaked. */
  private void addContents(BitmapDirectoryEntry entry, List<long[]> runs) {
    Geometry geometry = metadata.geometry;
    long[] table;
    try {
      table = data.table(entry, entry.tableSize());
    } catch (IOException e) {
      return;
    }
    for (long each : table) {
      long cluster = geometry.clusterIndex(BitmapTableEntry.hostOffset(each));
      if (cluster != 0 && !BitmapTableEntry.corrupt(each, geometry)) {
        runs.add(new long[] {cluster, 1});
      }
    }
    long bytes = entry.tableSize() * Geometry.ENTRY_BYTES;
    runs.add(new long[] {geometry.clusterIndex(entry.tableOffset()), geometry.clusters(bytes)});
  }

  /** The directory is live metadata from now on, and the old one is not. */
  private void moveTo(long newOffset, long newLength) {
    metadata.lock.lock();
    try {
      if (length > 0) {
        metadata.map.remove(hostOffset, metadata.geometry.clusters(length));
      }
      if (newLength > 0) {
        metadata.map.add(newOffset, metadata.geometry.clusters(newLength));
      }
      hostOffset = newOffset;
      length = newLength;
    } finally {
      metadata.lock.unlock();
    }
  }
}
