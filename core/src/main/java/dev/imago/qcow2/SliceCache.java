package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * The cached slices of the clusters that one {@link PointerTable} leads to: L2 tables or refcount
 * blocks. Keyed by position in the table, not by host offset, so that moving a cluster keeps its
 * slices.
 *
 * <p>Looking up takes no lock. Loading does its I/O under a lock of that slice only, which nobody
 * takes for anything else. The number of slices is a limit that is kept whenever there is a clean
 * slice to throw out; if there is none, a flush makes one, and if even that leaves none (others
 * dirtied all of them again), the cache grows for the moment rather than make anybody fail.
 */
final class SliceCache {
  private static final int LOAD_LOCKS = 64;

  /** Makes dirty slices clean. */
  interface Cleaner {
    /** Writes what is dirty, in the right order. Does nothing if this thread is doing that now. */
    void clean() throws IOException;
  }

  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final PointerTable pointers;
  private final int capacity;
  private final boolean pairs;
  private final BlockEvent loaded;
  private final ReentrantLock[] loading = new ReentrantLock[LOAD_LOCKS];

  /** Read without a lock; replaced under the metadata lock when the pointer table grows. */
  private volatile AtomicReferenceArray<@Nullable AtomicReferenceArray<@Nullable Slice>> tables;

  /** In the order in which {@link #evict} passes by. Under the metadata lock, as all below. */
  private final Deque<Slice> resident = new ArrayDeque<>();

  private final List<Slice> dirty = new ArrayList<>();

  /**
   * An empty cache.
   *
   * @param pairs whether two words of a slice make an entry
   * @param loaded the event that reading a slice is
   */
  SliceCache(
      ReentrantLock metadata,
      Geometry geometry,
      Storage storage,
      PointerTable pointers,
      boolean pairs,
      BlockEvent loaded,
      long capacityBytes) {
    this.metadata = metadata;
    this.geometry = geometry;
    this.storage = storage;
    this.pointers = pointers;
    this.pairs = pairs;
    this.loaded = loaded;
    this.capacity = Math.clamp(capacityBytes / geometry.sliceBytes(), 1, 1 << 24);
    this.tables = new AtomicReferenceArray<>(pointers.length());
    for (int i = 0; i < LOAD_LOCKS; i++) {
      loading[i] = new ReentrantLock();
    }
  }

  /** The slice if it is at hand. No lock, no I/O. */
  @Nullable Slice peek(long table, int index) {
    AtomicReferenceArray<@Nullable AtomicReferenceArray<@Nullable Slice>> now = tables;
    if (table >= now.length()) {
      return null;
    }
    AtomicReferenceArray<@Nullable Slice> slices = now.get((int) table);
    Slice slice = slices == null ? null : slices.get(index);
    if (slice != null && !slice.recent) {
      slice.recent = true;
    }
    return slice;
  }

  /**
   * The slice, read from the disk if it is not at hand. Called without the metadata lock.
   *
   * @return null if the pointer table has no entry there
   * @throws dev.imago.image.CorruptImageException if the pointer table's entry is bad
   */
  @Nullable Slice load(long table, int index, Cleaner cleaner) throws IOException {
    Slice slice = peek(table, index);
    if (slice != null || pointers.target(table) == 0) {
      return slice;
    }
    makeRoom(cleaner);
    ReentrantLock lock =
        loading[(int) (table * geometry.slicesPerCluster() + index) & (LOAD_LOCKS - 1)];
    lock.lock();
    try {
      while (true) {
        slice = peek(table, index);
        long host = pointers.target(table);
        if (slice != null || host == 0) {
          return slice;
        }
        storage.event(loaded);
        Slice read =
            new Slice(
                (int) table,
                index,
                Words.read(
                    storage, host + (long) index * geometry.sliceBytes(), geometry.sliceWords()),
                pairs);
        metadata.lock();
        try {
          if (pointers.target(table) == host && peek(table, index) == null) {
            add(read);
            return read;
          }
        } finally {
          metadata.unlock();
        }
      }
    } finally {
      lock.unlock();
    }
  }

  /** Puts a slice there that is known without reading: all zero. Under the metadata lock. */
  Slice addZero(int table, int index) {
    Slice slice = new Slice(table, index, new long[geometry.sliceWords()], pairs);
    add(slice);
    return slice;
  }

  private void add(Slice slice) {
    AtomicReferenceArray<@Nullable AtomicReferenceArray<@Nullable Slice>> now = tables;
    AtomicReferenceArray<@Nullable Slice> slices = now.get(slice.table);
    if (slices == null) {
      slices = new AtomicReferenceArray<>(geometry.slicesPerCluster());
      now.set(slice.table, slices);
    }
    slices.set(slice.index, slice);
    resident.addLast(slice);
  }

  private void makeRoom(Cleaner cleaner) throws IOException {
    metadata.lock();
    try {
      if (evict()) {
        return;
      }
    } finally {
      metadata.unlock();
    }
    cleaner.clean();
    metadata.lock();
    try {
      evict();
    } finally {
      metadata.unlock();
    }
  }

  /** Throws clean slices out until there is room for one more. */
  private boolean evict() {
    int looks = 2 * resident.size();
    while (resident.size() >= capacity && looks-- > 0) {
      Slice slice = resident.removeFirst();
      if (slice.dirty || slice.sealed || slice.recent) {
        slice.recent = false;
        resident.addLast(slice);
      } else {
        remove(slice);
      }
    }
    return resident.size() < capacity;
  }

  private void remove(Slice slice) {
    slice.resident = false;
    AtomicReferenceArray<@Nullable Slice> slices = tables.get(slice.table);
    if (slices != null && slices.get(slice.index) == slice) {
      slices.set(slice.index, null);
    }
  }

  /** Changes a word of a resident slice. Under the metadata lock. */
  void set(Slice slice, int word, long value) {
    slice.set(word, value);
    changed(slice);
  }

  /** Changes an L2 entry of a resident slice. Under the metadata lock. */
  void set(Slice slice, int index, L2Entry entry) {
    slice.set(index, entry);
    changed(slice);
  }

  private void changed(Slice slice) {
    if (!slice.dirty) {
      slice.dirty = true;
      dirty.add(slice);
    }
  }

  /** Whether a slice's words are all on the disk for sure. Under the metadata lock. */
  boolean durable(long table, int index) {
    Slice slice = peek(table, index);
    return slice == null || !(slice.dirty || slice.sealed);
  }

  /** Whether anything waits to be written. Under the metadata lock. */
  boolean dirty() {
    return !dirty.isEmpty();
  }

  /** Copies what has changed since the last call. Under the metadata lock. */
  List<Sealed> seal() {
    List<Sealed> sealed = new ArrayList<>(dirty.size());
    for (Slice slice : dirty) {
      long host = pointers.target(slice.table);
      if (slice.resident && host != 0) {
        slice.sealed = true;
        sealed.add(
            new Sealed(slice, host + (long) slice.index * geometry.sliceBytes(), slice.copy()));
      }
      slice.dirty = false;
    }
    dirty.clear();
    return sealed;
  }

  /** Says that these copies are on the disk. Under the metadata lock. */
  void unseal(List<Sealed> written) {
    for (Sealed sealed : written) {
      sealed.slice().sealed = false;
    }
  }

  /** Makes place for a longer pointer table. Under the metadata lock. */
  void grow() {
    AtomicReferenceArray<@Nullable AtomicReferenceArray<@Nullable Slice>> old = tables;
    AtomicReferenceArray<@Nullable AtomicReferenceArray<@Nullable Slice>> longer =
        new AtomicReferenceArray<>(Math.max(pointers.length(), old.length()));
    for (int i = 0; i < old.length(); i++) {
      longer.set(i, old.get(i));
    }
    tables = longer;
  }

  /** Forgets the slices of a table that is given up. Under the metadata lock. */
  void drop(int table) {
    resident.removeIf(
        slice -> {
          if (slice.table != table) {
            return false;
          }
          slice.resident = false;
          return true;
        });
    dirty.removeIf(slice -> slice.table == table);
    tables.set(table, null);
  }

  /** Forgets everything. Only when nothing is dirty. Under the metadata lock. */
  void clear() {
    for (Slice slice : resident) {
      slice.resident = false;
    }
    resident.clear();
    dirty.clear();
    tables = new AtomicReferenceArray<>(pointers.length());
  }

  /** A copy that a flush writes. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  record Sealed(Slice slice, long hostOffset, long[] words) {}
}
