package dev.imago.qcow2;

import dev.imago.image.SyncMode;
import dev.imago.qcow2.Events.Stage;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.BlockEvent;
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
  private final LateCounts late;
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

  /** What {@link #switchDisk} was told, until it is written. Under the metadata lock. */
  private @Nullable Disk newDisk;

  /** The snapshot table that the header must lead to. Under the metadata lock. */
  private @Nullable Snapshots newSnapshots;

  /** Parts of tables that no cache holds, to be changed in place. Under the metadata lock. */
  private List<PointerTable.Piece> edits = new ArrayList<>();

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
      LateCounts late,
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
    this.late = late;
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

  /**
   * The disk of the moved L1 table has this size. Both go to the header at once with the next
   * flush, so that no crash sees one without the other. Under the metadata lock.
   *
   * @param cryptMethod as the header has it: it lies between the two
   */
  void switchDisk(long size, int cryptMethod) {
    newDisk = new Disk(size, cryptMethod);
  }

  /** The header leads to this snapshot table with the next flush. Under the metadata lock. */
  void setSnapshots(int count, long hostOffset) {
    newSnapshots = new Snapshots(count, hostOffset);
  }

  /**
   * Changes words of an L2 table, or of a snapshot's L1 table, that no cache holds, with the next
   * flush: when all that was written before is safe. Under the metadata lock.
   *
   * @param hostOffset a multiple of 8; no word is torn in a crash
   * @return how many changes wait for a flush
   */
  int edit(long hostOffset, long[] words) {
    edits.add(new PointerTable.Piece(hostOffset, words));
    return edits.size();
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
    storage.event(BlockEvent.FLUSH_TO_OS);
    long ticket = tickets.incrementAndGet();
    flushing.lock();
    try {
      requireHealthy();
      if (served < ticket) {
        long upTo = tickets.get();
        run(Counts.NEEDED);
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

  /**
   * Writes metadata in place, behind a barrier of its own. What it leads to is safe already. A
   * failure is final.
   */
  void writeLinked(ByteBuffer bytes, long hostOffset) throws IOException {
    flushing.lock();
    try {
      requireHealthy();
      storage.write(bytes, hostOffset);
      if (sync != SyncMode.NONE) {
        storage.flush();
      }
    } catch (IOException | RuntimeException e) {
      fail(e);
      throw e;
    } finally {
      flushing.unlock();
    }
  }

  /**
   * Writes even lowered refcounts, so that nothing is leaked, and late ones, after which the disk
   * says that its counts are right. For closing, and before what relies on the disk's counts. While
   * no request is under way.
   */
  void flushAll() throws IOException {
    flushing.lock();
    try {
      requireHealthy();
      run(Counts.ALL);
      run(Counts.ALL_AND_RIGHT);
    } finally {
      flushing.unlock();
    }
  }

  /** Every flush writes counts until {@link #resumeLateCounts}, one under way included. */
  void suspendLateCounts() {
    flushing.lock();
    try {
      late.suspend();
    } finally {
      flushing.unlock();
    }
  }

  /** Counts may be late again, where the image allows it. */
  void resumeLateCounts() {
    late.resume();
  }

  @Override
  public void clean() throws IOException {
    clean(Counts.NEEDED);
  }

  /** Makes slices of refcounts clean too, which {@link #clean()} may leave dirty. */
  void cleanCounts() throws IOException {
    clean(Counts.ALL);
  }

  private void clean(Counts counts) throws IOException {
    if (flushing.isHeldByCurrentThread()) {
      return;
    }
    flushing.lock();
    try {
      requireHealthy();
      run(counts);
    } finally {
      flushing.unlock();
    }
  }

  /** Which refcounts a flush writes. */
  private enum Counts {
    /** Those that entries rely on; with lazy refcounts none, while the disk says so. */
    NEEDED,
    /** All, lowered ones too. */
    ALL,
    /** All, and no more will change: the disk says that its counts are right. */
    ALL_AND_RIGHT
  }

  /**
   * What one flush writes: copies, so that nobody has to wait for it.
   *
   * @param late whether counts stay in memory, and the disk does not say so yet
   * @param right whether the disk says that counts are late, which ends with this flush
   */
  private record Work(
      boolean late,
      boolean right,
      List<SliceCache.Sealed> refcounts,
      PointerTable.Sealed reftable,
      List<SliceCache.Sealed> l2,
      PointerTable.Sealed l1,
      List<PointerTable.Piece> edits,
      @Nullable Disk disk,
      long size,
      @Nullable Snapshots snapshots) {}

  /** A disk's size, with the field that lies between it and the pointer to its L1 table. */
  private record Disk(long size, int cryptMethod) {}

  /** Where the snapshot table is. */
  private record Snapshots(int count, long hostOffset) {}

  private void run(Counts counts) throws IOException {
    try {
      Work work = seal(counts);
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
  private @Nullable Work seal(Counts counts) {
    metadata.lock();
    try {
      boolean right = counts == Counts.ALL_AND_RIGHT && late.told();
      boolean needed =
          l2Cache.dirty()
              || l1.dirty()
              || reftable.dirty()
              || newSize >= 0
              || newDisk != null
              || newSnapshots != null
              || !edits.isEmpty()
              || quarantine.needsFlush()
              || dataWritten.get()
              || metadataWritten.get()
              || (counts != Counts.NEEDED && refcountCache.dirty())
              || right;
      if (!needed) {
        return null;
      }
      quarantine.seal();
      boolean wait = counts == Counts.NEEDED && late.mayWait(reftable.dirty());
      Work work =
          new Work(
              wait && refcountCache.dirty() && !late.told(),
              right,
              wait ? List.of() : refcountCache.seal(),
              reftable.seal(),
              l2Cache.seal(),
              l1.seal(),
              edits,
              newDisk,
              newSize,
              newSnapshots);
      edits = new ArrayList<>();
      newDisk = null;
      newSize = -1;
      newSnapshots = null;
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
          case DIRTY -> work.late && sayLate();
          case REFCOUNTS -> writeSlices(stage, work.refcounts);
          case REFTABLE ->
              writePieces(
                  stage,
                  work.reftable.moved()
                      ? BlockEvent.REFBLOCK_ALLOC_WRITE_TABLE
                      : BlockEvent.REFTABLE_UPDATE,
                  work.reftable.pieces());
          case REFTABLE_POINTER -> writeReftablePointer(work.reftable);
          case L2 -> writeL2(work);
          case L1 ->
              writePieces(
                  stage,
                  work.l1.moved() ? BlockEvent.L1_GROW_WRITE_TABLE : BlockEvent.L1_UPDATE,
                  work.l1.pieces());
          case L1_POINTER -> writeL1Pointer(work.l1, work.disk);
          case SIZE -> writeSize(work.size);
          case SNAPSHOTS -> writeSnapshots(work.snapshots);
          case CLEAN -> work.right && sayRight();
          case RELEASE -> false;
        };
    if (wrote) {
      metadataWritten.set(true);
    }
    if ((wrote || stage == Stage.REFCOUNTS)
        && !barrierFollows(stage, work)
        && !events.skipsBarrier(stage)) {
      barrier();
    }
  }

  private static boolean barrierFollows(Stage stage, Work work) {
    return switch (stage) {
      // With the one of REFCOUNTS, which is never left out.
      case DIRTY -> true;
      // The size follows in the header's first sector, which no crash tears or reorders.
      case L1_POINTER -> work.size >= 0;
      default -> false;
    };
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

  /** Says what is about to be written, to both kinds of fault injection. */
  private void entering(Stage stage, BlockEvent event) {
    events.entering(stage);
    storage.event(event);
  }

  private boolean writeSlices(Stage stage, List<SliceCache.Sealed> slices) throws IOException {
    if (slices.isEmpty()) {
      return false;
    }
    entering(stage, stage == Stage.L2 ? BlockEvent.L2_UPDATE : BlockEvent.REFBLOCK_UPDATE);
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

  private boolean writeL2(Work work) throws IOException {
    boolean slices = writeSlices(Stage.L2, work.l2);
    boolean edited = writePieces(Stage.L2, BlockEvent.L2_UPDATE, work.edits);
    return slices || edited;
  }

  private boolean writePieces(Stage stage, BlockEvent event, List<PointerTable.Piece> pieces)
      throws IOException {
    if (pieces.isEmpty()) {
      return false;
    }
    entering(stage, event);
    for (PointerTable.Piece piece : pieces) {
      storage.write(Words.bytes(piece.entries()), piece.hostOffset());
    }
    return true;
  }

  private boolean writeL1Pointer(PointerTable.Sealed table, @Nullable Disk disk)
      throws IOException {
    if (!table.moved()) {
      return false;
    }
    entering(Stage.L1_POINTER, BlockEvent.L1_GROW_ACTIVATE_TABLE);
    ByteBuffer fields = ByteBuffer.allocate(24);
    if (disk != null) {
      fields.putLong(disk.size).putInt(disk.cryptMethod);
    }
    fields.putInt(table.length()).putLong(table.hostOffset());
    storage.write(fields.flip(), disk != null ? Header.AT_SIZE : Header.AT_L1);
    return true;
  }

  private boolean sayLate() throws IOException {
    events.entering(Stage.DIRTY);
    late.tell();
    return true;
  }

  private boolean sayRight() throws IOException {
    events.entering(Stage.CLEAN);
    late.takeBack();
    return true;
  }

  private boolean writeReftablePointer(PointerTable.Sealed table) throws IOException {
    if (!table.moved()) {
      return false;
    }
    entering(Stage.REFTABLE_POINTER, BlockEvent.REFBLOCK_ALLOC_SWITCH_TABLE);
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

  private boolean writeSnapshots(@Nullable Snapshots snapshots) throws IOException {
    if (snapshots == null) {
      return false;
    }
    events.entering(Stage.SNAPSHOTS);
    ByteBuffer field = ByteBuffer.allocate(12);
    field.putInt(snapshots.count).putLong(snapshots.hostOffset);
    storage.write(field.flip(), Header.AT_SNAPSHOTS);
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
