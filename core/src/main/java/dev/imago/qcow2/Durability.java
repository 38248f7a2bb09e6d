package dev.imago.qcow2;

import dev.imago.image.SyncMode;
import dev.imago.qcow2.Events.Stage;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * The only writer of linked metadata: decides when it is safe to write what.
 *
 * <p>A flush first <em>seals</em>: under the metadata lock it copies what is dirty. Only the copies
 * are written, in the order of {@link Stage}, each stage followed by a barrier; later changes
 * belong to the next flush. Callers that arrive while a flush runs share the next one. A failed
 * flush is final: what is on the disk is unknown, so nothing more is written.
 *
 * <p>See docs/durability.md.
 */
final class Durability implements SliceCache.Cleaner {
  private final String name;
  private final ReentrantLock metadata;
  private final Geometry geometry;
  private final Storage storage;
  private final Storage dataStorage;
  private final SyncMode sync;
  private final Events events;
  private final PointerTable l1;
  private final PointerTable reftable;
  private final SliceCache l2Cache;
  private final SliceCache refcountCache;
  private final Quarantine quarantine;
  private final Releaser releaser;

  private final ReentrantLock flushing = new ReentrantLock();

  /** Counts callers of {@link #flush}; one flush serves all who came before it sealed. */
  private final AtomicLong tickets = new AtomicLong();

  private long served;

  /** Guest data or copies were written since the last barrier. */
  private final AtomicBoolean dataWritten = new AtomicBoolean();

  /** Metadata was written to the image file since the last barrier. */
  private final AtomicBoolean metadataWritten = new AtomicBoolean();

  /** The size that the header must get, or -1. Under the metadata lock. */
  private long newSize = -1;

  private volatile @Nullable Exception failure;

  /** Gives back what left quarantine. */
  interface Releaser {
    /** Called in a flush, without the metadata lock. */
    void release(Quarantine.Batch batch) throws IOException;
  }

  Durability(
      String name,
      ReentrantLock metadata,
      Geometry geometry,
      Storage storage,
      Storage dataStorage,
      SyncMode sync,
      Events events,
      PointerTable l1,
      PointerTable reftable,
      SliceCache l2Cache,
      SliceCache refcountCache,
      Quarantine quarantine,
      Releaser releaser) {
    this.name = name;
    this.metadata = metadata;
    this.geometry = geometry;
    this.storage = storage;
    this.dataStorage = dataStorage;
    this.sync = sync;
    this.events = events;
    this.l1 = l1;
    this.reftable = reftable;
    this.l2Cache = l2Cache;
    this.refcountCache = refcountCache;
    this.quarantine = quarantine;
    this.releaser = releaser;
  }

  /** Guest bytes have been written; the next flush must make them safe. */
  void dataWritten() {
    dataWritten.set(true);
  }

  /** A new table was written which nothing points to yet. */
  void tableWritten() {
    metadataWritten.set(true);
  }

  /** The header gets this size with the next flush. Under the metadata lock. */
  void setSize(long size) {
    newSize = size;
  }

  /** Refuses everything that writes after a failure. */
  void requireHealthy() throws IOException {
    Exception earlier = failure;
    if (earlier != null) {
      throw new IOException(
          name + ": nothing more is written after an earlier failure: " + earlier.getMessage(),
          earlier);
    }
  }

  /** Nothing more is written from now on. */
  void fail(Exception reason) {
    if (failure == null) {
      failure = reason;
    }
  }

  /** Makes everything that was written before this call safe. */
  void flush() throws IOException {
    long ticket = tickets.incrementAndGet();
    flushing.lock();
    try {
      requireHealthy();
      if (served < ticket) {
        long upTo = tickets.get();
        run(false);
        served = upTo;
      }
    } finally {
      flushing.unlock();
    }
  }

  /**
   * Makes guest bytes just written in place safe, when the way to them is known to be.
   *
   * @param table the L2 table that maps them
   * @param slice its slice
   */
  void flushData(long table, int slice) throws IOException {
    boolean durable;
    metadata.lock();
    try {
      durable = l2Cache.durable(table, slice) && newSize < 0;
    } finally {
      metadata.unlock();
    }
    if (!durable) {
      flush();
      return;
    }
    requireHealthy();
    if (sync != SyncMode.NONE) {
      try {
        dataStorage.flush();
      } catch (IOException e) {
        fail(e);
        throw e;
      }
    }
  }

  /** Writes even lowered refcounts, so that nothing is leaked. For closing. */
  void flushAll() throws IOException {
    flushing.lock();
    try {
      requireHealthy();
      run(true);
      run(true);
    } finally {
      flushing.unlock();
    }
  }

  @Override
  public void clean() throws IOException {
    if (flushing.isHeldByCurrentThread()) {
      return;
    }
    flushing.lock();
    try {
      requireHealthy();
      run(true);
    } finally {
      flushing.unlock();
    }
  }

  /** What one flush writes: copies, so that nobody has to wait for it. */
  private record Work(
      List<SliceCache.Sealed> refcounts,
      PointerTable.Sealed reftable,
      List<SliceCache.Sealed> l2,
      PointerTable.Sealed l1,
      long size) {}

  private void run(boolean evenLoweredCounts) throws IOException {
    try {
      Work work = seal(evenLoweredCounts);
      if (work == null) {
        release();
        return;
      }
      for (Stage stage : events.order(List.of(Stage.values()))) {
        if (stage == Stage.RELEASE) {
          finish();
          end(work);
          release();
        } else {
          stage(stage, work);
        }
      }
    } catch (IOException | RuntimeException e) {
      fail(e);
      throw e;
    } finally {
      events.left();
    }
  }

  /** What this flush sealed is on the disk. */
  private void end(Work work) {
    metadata.lock();
    try {
      l2Cache.unseal(work.l2);
      refcountCache.unseal(work.refcounts);
      quarantine.unlinkDurable();
    } finally {
      metadata.unlock();
    }
  }

  /** Copies what is dirty; null if nothing was written since the last flush. */
  private @Nullable Work seal(boolean evenLoweredCounts) {
    metadata.lock();
    try {
      boolean needed =
          l2Cache.dirty()
              || l1.dirty()
              || reftable.dirty()
              || newSize >= 0
              || quarantine.needsFlush()
              || dataWritten.get()
              || metadataWritten.get()
              || (evenLoweredCounts && refcountCache.dirty());
      if (!needed) {
        return null;
      }
      quarantine.seal();
      Work work =
          new Work(refcountCache.seal(), reftable.seal(), l2Cache.seal(), l1.seal(), newSize);
      newSize = -1;
      return work;
    } finally {
      metadata.unlock();
    }
  }

  private void stage(Stage stage, Work work) throws IOException {
    if (stage == Stage.REFCOUNTS) {
      events.entering(stage);
    }
    boolean wrote =
        switch (stage) {
          case REFCOUNTS -> writeSlices(stage, work.refcounts);
          case REFTABLE -> writeTable(stage, work.reftable);
          case REFTABLE_POINTER -> writeReftablePointer(work.reftable);
          case L2 -> writeSlices(stage, work.l2);
          case L1 -> writeTable(stage, work.l1);
          case L1_POINTER -> writeL1Pointer(work.l1);
          case SIZE -> writeSize(work.size);
          case RELEASE -> false;
        };
    if (wrote) {
      metadataWritten.set(true);
    }
    // The size follows in the header's first sector, which no crash tears or reorders.
    boolean sizeFollows = stage == Stage.L1_POINTER && work.size >= 0;
    if ((wrote || stage == Stage.REFCOUNTS) && !sizeFollows && !events.skipsBarrier(stage)) {
      barrier();
    }
  }

  /** Makes what was written up to now safe before anything that follows. */
  private void barrier() throws IOException {
    if (sync == SyncMode.FULL) {
      syncStorages();
    }
  }

  /** The end of a flush; with weak synchronisation its only barrier. */
  private void finish() throws IOException {
    if (sync == SyncMode.RELAXED) {
      syncStorages();
    } else if (sync == SyncMode.NONE) {
      dataWritten.set(false);
      metadataWritten.set(false);
    }
  }

  @SuppressWarnings("ReferenceEquality") // the same storage, not an equal one
  private void syncStorages() throws IOException {
    boolean data = dataWritten.getAndSet(false);
    boolean meta = metadataWritten.getAndSet(false);
    if (data) {
      dataStorage.flush();
    }
    if (meta && !(data && dataStorage == storage)) {
      storage.flush();
    }
  }

  private boolean writeSlices(Stage stage, List<SliceCache.Sealed> slices) throws IOException {
    if (slices.isEmpty()) {
      return false;
    }
    events.entering(stage);
    List<SliceCache.Sealed> sorted = new ArrayList<>(slices);
    sorted.sort(Comparator.comparingLong(SliceCache.Sealed::hostOffset));
    for (int from = 0; from < sorted.size(); ) {
      long start = sorted.get(from).hostOffset();
      int to = from + 1;
      while (to < sorted.size()
          && to - from < 256
          && sorted.get(to).hostOffset() == start + (long) (to - from) * geometry.sliceBytes()) {
        to++;
      }
      ByteBuffer run = ByteBuffer.allocate((to - from) * geometry.sliceBytes());
      for (SliceCache.Sealed each : sorted.subList(from, to)) {
        run.asLongBuffer().put(each.words());
        run.position(run.position() + geometry.sliceBytes());
      }
      storage.write(run.flip(), start);
      from = to;
    }
    return true;
  }

  private boolean writeTable(Stage stage, PointerTable.Sealed table) throws IOException {
    if (table.pieces().isEmpty()) {
      return false;
    }
    events.entering(stage);
    for (PointerTable.Piece piece : table.pieces()) {
      storage.write(Words.bytes(piece.entries()), piece.hostOffset());
    }
    return true;
  }

  private boolean writeL1Pointer(PointerTable.Sealed table) throws IOException {
    if (!table.moved()) {
      return false;
    }
    events.entering(Stage.L1_POINTER);
    ByteBuffer field = ByteBuffer.allocate(12);
    field.putInt(table.length()).putLong(table.hostOffset());
    storage.write(field.flip(), Header.AT_L1);
    return true;
  }

  private boolean writeReftablePointer(PointerTable.Sealed table) throws IOException {
    if (!table.moved()) {
      return false;
    }
    events.entering(Stage.REFTABLE_POINTER);
    ByteBuffer field = ByteBuffer.allocate(12);
    field
        .putLong(table.hostOffset())
        .putInt((int) geometry.clusters((long) table.length() * Geometry.ENTRY_BYTES));
    storage.write(field.flip(), Header.AT_REFTABLE);
    return true;
  }

  private boolean writeSize(long size) throws IOException {
    if (size < 0) {
      return false;
    }
    events.entering(Stage.SIZE);
    storage.write(ByteBuffer.allocate(8).putLong(size).flip(), Header.AT_SIZE);
    return true;
  }

  /** Gives back what no request and no entry on the disk refers to any more. */
  private void release() throws IOException {
    while (true) {
      Quarantine.Batch batch;
      metadata.lock();
      try {
        batch = quarantine.takeReleasable();
      } finally {
        metadata.unlock();
      }
      if (batch.isEmpty()) {
        return;
      }
      events.entering(Stage.RELEASE);
      releaser.release(batch);
      metadata.lock();
      try {
        quarantine.released(batch);
      } finally {
        metadata.unlock();
      }
    }
  }
}
