package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * An open image's metadata: finds the slice that maps a guest offset, makes L2 tables writable, and
 * changes entries.
 *
 * <p>One lock, {@link #lock}, guards every change. It is held for memory work only, never for I/O.
 * See docs/locking.md.
 */
final class Metadata {
  private static final int TABLE_LOCKS = 16;

  final String name;
  final Geometry geometry;

  /** The image file. */
  final Storage storage;

  /** Where guest data lies, in the clear: the image file or the data file, perhaps decrypted. */
  final Storage data;

  /** Whether what is lost is told from what never was: see {@link Rescue}. */
  final boolean rescue;

  /** Whether the data file must stay a valid raw image. */
  final boolean rawData;

  final ReentrantLock lock = new ReentrantLock();
  final Requests requests;
  final Claims claims = new Claims();
  final PointerTable l1;
  final PointerTable reftable;
  final SliceCache l2;
  final MetadataMap map;
  final Quarantine quarantine;
  final CompressedPlaces places;
  final HostCounts counts;
  final RefcountBlocks blocks;
  final Allocator allocator;
  final Durability durability;
  final SnapshotStore snapshots;
  final BitmapDirectory bitmaps;
  final Events events;

  private final SliceCache refcounts;
  private final IncompatibleBits incompatible;
  private final boolean unsynced;
  private final long quarantineLimit;
  private final ReentrantLock[] tableLocks = new ReentrantLock[TABLE_LOCKS];
  private volatile Header header;
  private volatile long size;
  private volatile boolean prepared;

  Metadata(OpenParts parts, Durability.Releaser releaser) throws IOException {
    this.name = parts.storage().name();
    this.header = parts.header();
    this.geometry = header.geometry();
    this.storage = parts.storage();
    this.data = parts.encryption().guestData();
    this.rescue = parts.options().rescue();
    this.rawData = (header.autoclear() & Header.AUTOCLEAR_RAW_DATA_FILE) != 0;
    this.size = parts.size();
    this.snapshots = new SnapshotStore(storage, header);
    this.unsynced = parts.options().sync() == SyncMode.NONE;
    this.events = parts.events();
    this.quarantineLimit = parts.options().quarantineBytes() >>> geometry.clusterBits();
    this.requests = new Requests(name);
    this.incompatible = new IncompatibleBits(storage, header);
    this.places = new CompressedPlaces(geometry);
    this.l1 = parts.l1();
    this.reftable = parts.reftable();
    this.map = parts.map();
    this.quarantine = new Quarantine(requests);
    this.l2 =
        new SliceCache(
            lock,
            geometry,
            storage,
            l1,
            geometry.extendedL2(),
            BlockEvent.L2_LOAD,
            parts.options().l2CacheBytes());
    this.refcounts =
        new SliceCache(
            lock,
            geometry,
            storage,
            reftable,
            false,
            BlockEvent.REFBLOCK_LOAD,
            parts.options().refcountCacheBytes());
    this.durability =
        new Durability(
            name,
            lock,
            geometry,
            storage,
            parts.data(),
            parts.options().sync(),
            events,
            l1,
            reftable,
            l2,
            refcounts,
            quarantine,
            new LateCounts(parts.lateCounts(), incompatible),
            releaser);
    this.counts =
        new HostCounts(name, lock, geometry, storage, reftable, refcounts, durability::cleanCounts);
    this.blocks =
        new RefcountBlocks(
            name, lock, geometry, storage, reftable, refcounts, counts, map, quarantine);
    this.allocator =
        new Allocator(
            name, lock, geometry, storage, counts, blocks, map, places, parts.options().reuse());
    for (int i = 0; i < TABLE_LOCKS; i++) {
      tableLocks[i] = new ReentrantLock();
    }
    this.bitmaps = new BitmapDirectory(this);
    if (parts.options().writable()) {
      bitmaps.load(parts.cluster());
    }
  }

  /** The disk's size in bytes. */
  long size() {
    return size;
  }

  /** Sets the size in memory alone. Only while no request is under way. */
  void setSizeInMemory(long newSize) {
    lock.lock();
    try {
      size = newSize;
    } finally {
      lock.unlock();
    }
  }

  /** Sets the size in memory and with the next flush. Only while no request is under way. */
  void setSize(long newSize) {
    lock.lock();
    try {
      size = newSize;
      durability.setSize(newSize);
    } finally {
      lock.unlock();
    }
  }

  /** The header as it was at open; sizes and tables have moved on since. */
  Header header() {
    return header;
  }

  /** Takes note of a header that was changed on the disk, sizes and tables excepted. */
  void setHeader(Header changed) {
    header = changed;
  }

  /**
   * Changes what cluster 0 says, but for sizes and tables: see {@link HeaderUpdate}. Only while no
   * request is under way and all is on the disk. If writing fails, nothing more is written.
   *
   * @throws IllegalArgumentException if the new header does not fit; nothing was written then
   */
  void changeHeader(UnaryOperator<HeaderCluster> change) throws IOException {
    try {
      setHeader(HeaderUpdate.run(storage, change, synced()));
    } catch (IOException e) {
      durability.fail(e);
      throw e;
    }
  }

  /** Tables are going to be changed on the disk, past the cache. */
  void forgetTables() throws IOException {
    durability.flush();
    lock.lock();
    try {
      l2.clear();
    } finally {
      lock.unlock();
    }
  }

  /** Whether what is written must be flushed where order matters. */
  boolean synced() {
    return !unsynced;
  }

  /** The slice that maps a guest offset; null if there is no L2 table. */
  @Nullable Slice slice(long guestOffset) throws IOException {
    long table = geometry.l1Index(guestOffset);
    int index = geometry.l2Slice(guestOffset);
    Slice slice = l2.peek(table, index);
    if (slice != null) {
      return slice;
    }
    requireAligned(table);
    if (rescue) {
      Rescue.requireTable(
          storage,
          l1.target(table),
          (index + 1L) * geometry.sliceBytes(),
          l1.hostOffset() + table * Geometry.ENTRY_BYTES);
    }
    return l2.load(table, index, durability);
  }

  /** The slice that maps a guest offset if no I/O is needed. */
  @Nullable Slice sliceNow(long guestOffset) {
    return l2.peek(geometry.l1Index(guestOffset), geometry.l2Slice(guestOffset));
  }

  /** Whether it is known without I/O that no L2 table maps a guest offset. */
  boolean withoutTable(long guestOffset) {
    return l1.target(geometry.l1Index(guestOffset)) == 0;
  }

  /** Whether entries of the L2 table that maps a guest offset may be changed in place. */
  boolean tableWritable(long guestOffset) {
    return l1.get(geometry.l1Index(guestOffset)) < 0;
  }

  /**
   * The slice that maps a guest offset, in an L2 table that only the active disk refers to: made if
   * there is none, copied if it is shared.
   */
  Slice writableSlice(long guestOffset) throws IOException {
    long table = geometry.l1Index(guestOffset);
    int index = geometry.l2Slice(guestOffset);
    while (true) {
      if (!tableWritable(guestOffset) || withoutTable(guestOffset)) {
        makeTable((int) table);
      }
      requireAligned(table);
      Slice slice = l2.load(table, index, durability);
      if (slice != null) {
        return slice;
      }
    }
  }

  private void requireAligned(long table) throws CorruptImageException {
    long target = l1.target(table);
    if (geometry.inCluster(target) != 0) {
      throw new CorruptImageException(
          name,
          l1.hostOffset() + table * Geometry.ENTRY_BYTES,
          "L1 entry",
          "L2 table offset 0x%x unaligned (L1 index: %d); it must be a multiple of the cluster size"
              .formatted(target, table),
          "run a check");
    }
  }

  /** Makes an L2 table for an L1 entry, empty or as a copy of the shared one. */
  private void makeTable(int table) throws IOException {
    ReentrantLock making = tableLocks[table & (TABLE_LOCKS - 1)];
    making.lock();
    try {
      long old = l1.target(table);
      if (old != 0 && l1.get(table) < 0) {
        return;
      }
      requireAligned(table);
      Allocator.Taken taken = allocator.take(1);
      long place = geometry.clusterOffset(taken.firstCluster());
      try {
        storage.event(old == 0 ? BlockEvent.L2_ALLOC_WRITE : BlockEvent.L2_ALLOC_COW_READ);
        if (old == 0) {
          storage.writeZeroes(place, geometry.clusterSize(), Storage.ZeroMode.ALLOCATED);
        } else {
          ByteBuffer copy = ByteBuffer.allocate(geometry.clusterSize());
          storage.read(copy, old);
          storage.event(BlockEvent.L2_ALLOC_WRITE);
          storage.write(copy.flip(), place);
        }
        durability.tableWritten();
      } catch (IOException | RuntimeException e) {
        giveBack(taken, e);
        throw e;
      }
      lock.lock();
      try {
        l1.set(table, place | Geometry.COPIED);
        map.add(place, 1);
        if (old != 0) {
          map.remove(old, 1);
          freed(geometry.clusterIndex(old), 1);
        }
      } finally {
        lock.unlock();
      }
    } finally {
      making.unlock();
    }
  }

  /** Gives clusters back after a failure, which stays the error that is reported. */
  void giveBack(Allocator.Taken taken, Exception reason) {
    try {
      allocator.giveBack(taken.firstCluster(), taken.count());
    } catch (IOException e) {
      reason.addSuppressed(e);
    }
  }

  /**
   * Changes an entry. What it referred to before goes to quarantine, but for a host cluster that it
   * keeps. Under the metadata lock, the slice being resident.
   *
   * @param index of the entry in the slice
   */
  void replace(Slice slice, int index, L2Entry entry, long guestCluster) {
    L2Entry old = slice.entry(index);
    l2.set(slice, index, entry);
    if (old.kind(0, geometry) == L2Entry.Kind.INVALID) {
      return;
    }
    if (old.compressed()) {
      long start = geometry.compressedOffset(old.descriptor());
      long first = geometry.clusterIndex(start);
      long last = geometry.clusterIndex(start + geometry.compressedLength(old.descriptor()) - 1);
      freed(first, last - first + 1);
    } else if (old.hasCluster(geometry)) {
      boolean has = entry.hasCluster(geometry);
      if (geometry.externalData()) {
        if (!has && !rawData) {
          quarantine.addPunch(guestCluster);
        }
      } else if (!has || entry.hostOffset() != old.hostOffset()) {
        freed(geometry.clusterIndex(old.hostOffset()), 1);
      }
    }
  }

  /** Host clusters lose one reference each, as soon as that is safe. Under the metadata lock. */
  void freed(long firstCluster, long count) {
    places.forget(firstCluster, count);
    if (events.skipsQuarantine()) {
      allocator.lowerAtOnce(firstCluster, count);
    } else {
      quarantine.add(firstCluster, count);
    }
  }

  /** A cluster has lost that many references, as soon as the next flush is done. */
  void unreferenced(long cluster, long references) {
    lock.lock();
    try {
      for (long i = 0; i < references; i++) {
        freed(cluster, 1);
      }
    } finally {
      lock.unlock();
    }
  }

  /** Compressed clusters begin somewhere else from now on: counts were lowered past quarantine. */
  void forgetPlaces() {
    lock.lock();
    try {
      places.forgetAll();
    } finally {
      lock.unlock();
    }
  }

  /** Refuses a write to live metadata, and marks the image as corrupt. */
  void requireNoOverlap(long hostOffset, long length) throws CorruptImageException {
    if (!geometry.externalData() && map.overlaps(hostOffset, length)) {
      throw new CorruptImageException(
          name,
          hostOffset,
          "L2 entry",
          "guest data of %d bytes would overwrite live metadata".formatted(length),
          "run a check");
    }
  }

  /** Called before each change: makes the disk ready for the first one, limits the quarantine. */
  void beforeChange() throws IOException {
    durability.requireHealthy();
    if (!prepared) {
      prepare();
    }
    if (quarantine.clusters() > quarantineLimit) {
      durability.flush();
    }
  }

  /**
   * Called before a change that leaves every guest byte as it is: bitmaps stay right, and are kept.
   */
  void beforeMove() throws IOException {
    durability.requireHealthy();
    if (!prepared) {
      keepAutoclear();
    }
  }

  /** Whether {@link #beforeChange} was called since the image was opened or read anew. */
  boolean prepared() {
    return prepared;
  }

  /**
   * Clears, before anything else is changed, the autoclear bits of features not kept up here, and
   * says that bitmaps are in use.
   */
  private synchronized void prepare() throws IOException {
    if (prepared) {
      return;
    }
    keepAutoclear();
    bitmaps.begin();
    prepared = true;
  }

  private void keepAutoclear() throws IOException {
    long kept = header.autoclear() & Header.AUTOCLEAR_RAW_DATA_FILE;
    if (!bitmaps.bitmaps().isEmpty()) {
      kept |= Header.AUTOCLEAR_BITMAPS;
    }
    if (header.version() >= 3 && kept != header.autoclear()) {
      storage.write(ByteBuffer.allocate(8).putLong(kept).flip(), Header.AT_AUTOCLEAR);
      sync();
    }
  }

  /**
   * Marks the image as corrupt, on the disk too where its version can say so. Nothing more is
   * written.
   */
  synchronized void markCorrupt(CorruptImageException reason) {
    try {
      durability.requireHealthy();
      durability.fail(reason);
      if (header.version() >= 3) {
        incompatible.set(Header.INCOMPATIBLE_CORRUPT);
        sync();
      }
    } catch (IOException e) {
      reason.addSuppressed(e);
    }
  }

  private void sync() throws IOException {
    if (!unsynced) {
      storage.flush();
    }
  }

  /**
   * Goes on with the disk of another L1 table, of this size; the old table, but not what it led to,
   * is given up. Under the metadata lock, with nothing dirty in the L2 cache.
   *
   * @param hostOffset where its clusters are, whole
   * @param entries without flags
   */
  void switchDisk(long hostOffset, long[] entries, long newSize) {
    for (long entry : l1.entries()) {
      if (entry != 0) {
        map.remove(entry & Geometry.OFFSET_MASK, 1);
      }
    }
    long oldClusters = geometry.clusters((long) l1.length() * Geometry.ENTRY_BYTES);
    map.remove(l1.hostOffset(), oldClusters);
    freed(geometry.clusterIndex(l1.hostOffset()), oldClusters);
    l1.moveTo(hostOffset, entries);
    map.add(hostOffset, geometry.clusters((long) entries.length * Geometry.ENTRY_BYTES));
    for (long entry : entries) {
      if (entry != 0) {
        map.add(entry, 1);
      }
    }
    l2.clear();
    size = newSize;
    durability.switchDisk(newSize, header.cryptMethod());
  }

  /** Forgets what is cached and goes on with what the disk says now. Nothing may be dirty. */
  void reload(HeaderCluster cluster, OpenParts.Disk disk, long[] reftableEntries)
      throws IOException {
    lock.lock();
    try {
      Header fresh = cluster.header();
      header = fresh;
      incompatible.reload(fresh);
      prepared = false;
      size = disk.size();
      snapshots.reload(fresh);
      l1.reload(disk.l1TableOffset(), disk.l1());
      reftable.reload(fresh.refcountTableOffset(), reftableEntries);
      l2.clear();
      refcounts.clear();
      allocator.reset();
    } finally {
      lock.unlock();
    }
  }
}
