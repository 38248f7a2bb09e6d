package dev.imago.qcow2;

import dev.imago.image.CompactResult;
import dev.imago.image.CompressedRun;
import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.Progress;
import dev.imago.image.ReadOnlyImageException;
import dev.imago.image.Snapshot;
import dev.imago.image.WritableRun;
import dev.imago.qcow2.Qcow2CreateOptions.Preallocation;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * An open qcow2 image: checks what is asked, counts the request in, and hands it to who knows.
 *
 * <p>Each request is counted by {@link Requests} from before it looks anything up until its I/O has
 * ended, so that no host cluster it found is given to somebody else meanwhile.
 */
final class Qcow2Image implements Image {
  private final Metadata metadata;
  private final Geometry geometry;
  private final Requests requests;
  private final @Nullable Image backing;
  private final boolean readOnly;
  private final @Nullable String snapshot;
  private final ClusterCodec codec;
  private final InflatedClusters inflated;
  private final GuestReader reader;
  private final ClusterWriter writer;
  private final CompressedWriter compressor;
  private final FixedMappings fixed;
  private final Resizer resizer;
  private final VmState vmState;
  private final SnapshotOperations snapshotOperations;
  private final KeySlots keySlots;

  /** Everything is on the disk, and what memory holds may be older. */
  private boolean ended;

  Qcow2Image(OpenParts parts) throws IOException {
    this.metadata = new Metadata(parts, this::release);
    this.geometry = metadata.geometry;
    this.requests = metadata.requests;
    this.backing = parts.backing();
    this.readOnly = !parts.options().writable();
    this.snapshot = parts.options().snapshot();
    this.codec = ClusterCodec.of(parts.header().compressionType(), parts.options().compression());
    this.inflated = new InflatedClusters(metadata.storage, geometry, codec);
    this.reader = new GuestReader(metadata, parts.encryption(), backing, inflated, !readOnly);
    this.writer = new ClusterWriter(metadata, reader);
    this.compressor = new CompressedWriter(metadata, writer, codec);
    this.fixed = new FixedMappings(metadata, reader, writer, backing);
    this.resizer = new Resizer(metadata, fixed, writer, backing);
    this.vmState = new VmState(metadata, reader, writer, resizer);
    this.snapshotOperations = new SnapshotOperations(metadata);
    this.keySlots = new KeySlots(metadata, parts);
  }

  @Override
  public String name() {
    return metadata.name;
  }

  @Override
  public String format() {
    return "qcow2";
  }

  @Override
  public long size() {
    return metadata.size();
  }

  @Override
  public boolean readOnly() {
    return readOnly;
  }

  @Override
  public int clusterSize() {
    return geometry.clusterSize();
  }

  @Override
  public Optional<Image> backing() {
    return Optional.ofNullable(backing);
  }

  @Override
  public void read(ByteBuffer dst, long guestOffset) throws IOException {
    int token = requests.enter();
    try {
      Objects.checkFromIndexSize(guestOffset, dst.remaining(), size());
      reader.read(dst, guestOffset);
    } catch (CorruptImageException e) {
      throw corrupt(e);
    } finally {
      requests.leave(token);
    }
  }

  @Override
  public boolean readNow(ByteBuffer dst, long guestOffset) throws IOException {
    int token = requests.enter();
    try {
      Objects.checkFromIndexSize(guestOffset, dst.remaining(), size());
      return reader.readNow(dst, guestOffset);
    } catch (CorruptImageException e) {
      throw corrupt(e);
    } finally {
      requests.leave(token);
    }
  }

  @Override
  public void write(ByteBuffer[] srcs, long guestOffset, boolean fua) throws IOException {
    long length = Gather.remaining(srcs);
    change(guestOffset, length, () -> writer.write(srcs, guestOffset));
    if (fua) {
      makeDurable(guestOffset, length);
    }
  }

  @Override
  public CompressedRun compress(ByteBuffer src, long guestOffset) throws IOException {
    requireWritable();
    long length = src.remaining();
    Objects.checkFromIndexSize(guestOffset, length, size());
    compressor.requirePossible();
    if (geometry.inCluster(guestOffset) != 0
        || (geometry.inCluster(length) != 0 && guestOffset + length != size())) {
      throw new IllegalArgumentException(
          "%d bytes at guest offset %d are no whole clusters".formatted(length, guestOffset));
    }
    CompressedWriter.Encoded encoded = compressor.encode(src, guestOffset);
    return new CompressedRun() {
      private boolean open = true;

      @Override
      public synchronized void write() throws IOException {
        if (!open) {
          throw new IllegalStateException("the run was written or closed before");
        }
        change(guestOffset, length, () -> compressor.write(encoded));
        close();
      }

      @Override
      public synchronized void close() {
        if (open) {
          open = false;
          compressor.done(encoded);
        }
      }
    };
  }

  @Override
  public void writeZeroes(long guestOffset, long length, boolean mayUnmap, boolean fua)
      throws IOException {
    change(
        guestOffset,
        length,
        () -> {
          if (length > 0) {
            fixed.writeZeroes(guestOffset, length, mayUnmap);
          }
        });
    if (fua) {
      makeDurable(guestOffset, length);
    }
  }

  @Override
  public Range discard(long guestOffset, long length, Discard kind) throws IOException {
    Range[] affected = {new Range(guestOffset, 0)};
    change(
        guestOffset,
        length,
        () -> {
          if (length > 0) {
            affected[0] = fixed.discard(guestOffset, length, kind);
          }
        });
    return affected[0];
  }

  /** Makes what was written to a range safe; one data barrier if its mapping is safe already. */
  private void makeDurable(long guestOffset, long length) throws IOException {
    if (length > 0 && writer.sliceEnd(guestOffset) >= guestOffset + length) {
      metadata.durability.flushData(geometry.l1Index(guestOffset), geometry.l2Slice(guestOffset));
    } else {
      flush();
    }
  }

  @Override
  public Mapping map(long guestOffset, long maxLength) throws IOException {
    if (maxLength < 1 || guestOffset < 0) {
      throw new IndexOutOfBoundsException(
          "map of %d bytes at guest offset %d".formatted(maxLength, guestOffset));
    }
    int token = requests.enter();
    try {
      long size = size();
      return guestOffset >= size
          ? new Mapping.End()
          : reader.map(guestOffset, Math.min(maxLength, size - guestOffset));
    } catch (CorruptImageException e) {
      throw corrupt(e);
    } finally {
      requests.leave(token);
    }
  }

  @Override
  public Pin pin() {
    int token = requests.enter();
    return new Pin() {
      private boolean open = true;

      @Override
      public synchronized void close() {
        if (open) {
          open = false;
          requests.leave(token);
        }
      }
    };
  }

  @Override
  public WritableRun reserve(long guestOffset, long length, boolean overwrite) throws IOException {
    requireWritable();
    if (length < 1) {
      throw new IndexOutOfBoundsException("a run of %d bytes".formatted(length));
    }
    Objects.checkFromIndexSize(guestOffset, length, size());
    int token = enterToChange();
    boolean handedOver = false;
    try {
      Objects.checkFromIndexSize(guestOffset, length, size());
      WritableRun run = null;
      while (run == null) {
        run = tryReserve(guestOffset, length, overwrite, token);
      }
      handedOver = true;
      return run;
    } catch (CorruptImageException e) {
      throw corrupt(e);
    } finally {
      if (!handedOver) {
        requests.leave(token);
      }
    }
  }

  private @Nullable WritableRun tryReserve(
      long guestOffset, long length, boolean overwrite, int token) throws IOException {
    ClusterWriter.InPlaceRun there = writer.inPlaceRun(guestOffset, length);
    if (there.length() > 0) {
      metadata.requireNoOverlap(there.hostOffset(), there.length());
      // The caller's bytes are the guest's as soon as they are written.
      metadata.bitmaps.mark(guestOffset, there.length());
      return new Reservation(
          metadata, writer, token, guestOffset, there.hostOffset(), there.length(), null, null);
    }
    long wanted = Math.min(length, writer.sliceEnd(guestOffset) - guestOffset);
    Claims.Claim claim = writer.claim(guestOffset, wanted);
    boolean handedOver = false;
    try {
      Place place = writer.place(guestOffset, wanted);
      if (place.clusters() == 0) {
        return null;
      }
      claim.shrink(place.clusters());
      try {
        writer.copyAround(guestOffset, place, overwrite);
      } catch (IOException | RuntimeException e) {
        writer.giveBack(place, e);
        throw e;
      }
      handedOver = true;
      return new Reservation(
          metadata,
          writer,
          token,
          guestOffset,
          writer.hostOffset(guestOffset, place),
          place.end() - guestOffset,
          place,
          claim);
    } finally {
      if (!handedOver) {
        claim.close();
      }
    }
  }

  @Override
  public void flush() throws IOException {
    if (readOnly) {
      return;
    }
    int token = requests.enter();
    requests.leave(token);
    metadata.durability.flush();
  }

  @Override
  public void resize(long newSize, Storage.Preallocation preallocation, boolean shrink)
      throws IOException {
    requireWritable();
    resize(
        newSize,
        switch (preallocation) {
          case OFF -> Preallocation.OFF;
          case FALLOC -> Preallocation.FALLOC;
          case FULL -> Preallocation.FULL;
        },
        shrink);
  }

  @Override
  public void growMapped(long newSize) throws IOException {
    resize(newSize, Preallocation.METADATA, false);
  }

  private void resize(long newSize, Preallocation preallocation, boolean shrink)
      throws IOException {
    requireWritable();
    resizer.check(newSize, shrink);
    requests.exclusive();
    try {
      metadata.durability.suspendLateCounts();
      metadata.bitmaps.checkResize(newSize);
      metadata.beforeChange();
      resizer.resize(newSize, preallocation);
    } catch (CorruptImageException e) {
      throw corrupt(e);
    } finally {
      metadata.durability.resumeLateCounts();
      requests.reopen();
    }
  }

  /**
   * Changes what cluster 0 says, but for sizes and tables: see {@link HeaderUpdate}. All that was
   * written before is safe by then.
   */
  void changeHeader(UnaryOperator<HeaderCluster> change) throws IOException {
    exclusively(metadata::beforeChange, () -> metadata.changeHeader(change));
  }

  /** See {@link Qcow2#checkAmend}. */
  void checkAmend(Qcow2AmendOptions options) throws IOException {
    requireWritable();
    requests.exclusive();
    try {
      metadata.durability.suspendLateCounts();
      metadata.durability.flushAll();
      new Amender(metadata, options).check(resizer);
    } finally {
      metadata.durability.resumeLateCounts();
      requests.reopen();
    }
  }

  /** See {@link Qcow2#amend}. */
  void amend(Qcow2AmendOptions options, Progress progress) throws IOException {
    checkAmend(options);
    Amender amender = new Amender(metadata, options);
    exclusively(metadata::beforeMove, () -> amender.changeHeader(progress));
    if (options.size() >= 0 && options.size() != size()) {
      resize(options.size(), Preallocation.OFF, true);
    }
    if (amender.endsTheImage() && requests.close()) {
      ended = true; // whatever fails from here on, close() still has to let go of everything
      metadata.durability.suspendLateCounts();
      metadata.bitmaps.close();
      metadata.durability.flushAll();
      amender.end(progress);
    }
  }

  /** See {@link Qcow2#snapshots}. */
  List<Snapshot> snapshots() throws IOException {
    long size = size();
    return metadata.snapshots.entries().stream()
        .map(entry -> SnapshotStore.describe(entry, size))
        .toList();
  }

  /** See {@link Qcow2#createSnapshot}. */
  Snapshot createSnapshot(String name, Instant date) throws IOException {
    Snapshot[] made = new Snapshot[1];
    exclusively(
        snapshotOperations::requireCreate, () -> made[0] = snapshotOperations.create(name, date));
    return made[0];
  }

  /** See {@link Qcow2#applySnapshot}. */
  void applySnapshot(String idOrName) throws IOException {
    exclusively(
        () -> snapshotOperations.requireApply(idOrName), () -> snapshotOperations.apply(idOrName));
  }

  /** See {@link Qcow2#deleteSnapshot}. */
  void deleteSnapshot(String idOrName) throws IOException {
    exclusively(
        () -> {
          snapshotOperations.requireDelete(idOrName);
          metadata.beforeMove();
        },
        () -> snapshotOperations.delete(idOrName));
  }

  /** See {@link Qcow2#readVmState}. */
  void readVmState(ByteBuffer dst, long offset) throws IOException {
    int token = requests.enter();
    try {
      vmState.read(dst, offset);
    } catch (CorruptImageException e) {
      throw corrupt(e);
    } finally {
      requests.leave(token);
    }
  }

  /** See {@link Qcow2#writeVmState}. */
  void writeVmState(ByteBuffer src, long offset) throws IOException {
    exclusively(
        () -> {
          vmState.requirePossible(src.remaining(), offset);
          metadata.beforeChange();
        },
        () -> vmState.write(src, offset));
  }

  /** See {@link Qcow2#compact}. */
  CompactResult compact(Progress progress) throws IOException {
    CompactResult[] result = new CompactResult[1];
    exclusively(metadata::beforeMove, () -> result[0] = Compactor.run(metadata, progress));
    return result[0];
  }

  /**
   * Changes the image as a whole: no request is under way, all is on the disk before, and refcounts
   * are never late meanwhile.
   *
   * @param check refuses before anything is touched, and makes the image ready for a change
   */
  private void exclusively(Change check, Change change) throws IOException {
    requireWritable();
    check.run();
    requests.exclusive();
    try {
      metadata.durability.suspendLateCounts();
      metadata.durability.flushAll();
      change.run();
    } finally {
      inflated.forgetAll();
      metadata.forgetPlaces();
      metadata.durability.resumeLateCounts();
      requests.reopen();
    }
  }

  @Override
  public void invalidateCache() throws IOException {
    requests.exclusive();
    try {
      if (!readOnly) {
        metadata.durability.suspendLateCounts();
        metadata.bitmaps.close();
        metadata.durability.flushAll();
      }
      metadata.storage.invalidateCache();
      HeaderCluster cluster = OpenParts.readHeader(metadata.storage);
      Header header = cluster.header();
      if (!readOnly && header.dirty()) {
        throw new IOException(
            name() + ": somebody else left its refcounts stale; it must be opened anew");
      }
      if (!header.geometry().equals(geometry)) {
        throw new IOException(
            name() + ": somebody else made another image of it; it must be opened anew");
      }
      metadata.reload(
          cluster,
          OpenParts.disk(metadata.storage, header, snapshot),
          readOnly ? new long[0] : OpenParts.readReftable(metadata.storage, header).entries());
      inflated.forgetAll();
      metadata.bitmaps.load(cluster);
    } finally {
      metadata.durability.resumeLateCounts();
      requests.reopen();
    }
    if (backing != null) {
      backing.invalidateCache();
    }
  }

  @Override
  @SuppressWarnings("ReferenceEquality") // the same storage, not an equal one
  public void close() throws IOException {
    if (!requests.close() && !ended) {
      return;
    }
    Exception failure = null;
    boolean changes = !readOnly && !ended;
    ended = false;
    if (changes) {
      metadata.durability.suspendLateCounts();
      // Guest data must get to the disk even if bitmaps do not.
      failure = closed(metadata.bitmaps::close, failure);
      try {
        metadata.durability.flushAll();
        cutTail();
      } catch (IOException | RuntimeException e) {
        if (failure == null) {
          failure = e;
        } else {
          failure.addSuppressed(e);
        }
      }
    }
    codec.close();
    compressor.close();
    inflated.forgetAll();
    failure = closed(metadata.storage, failure);
    if (metadata.data != metadata.storage) {
      failure = closed(metadata.data, failure);
    }
    if (backing != null) {
      failure = closed(backing, failure);
    }
    if (failure instanceof IOException e) {
      throw e;
    }
    if (failure instanceof RuntimeException e) {
      throw e;
    }
  }

  private void cutTail() {
    try {
      if (metadata.counts.changed()) {
        FreeTail.cut(metadata);
      }
    } catch (IOException e) {
      // What cannot be cut off stays: it is free space, and the image is whole and on the disk.
      return;
    }
  }

  private static @Nullable Exception closed(
      java.io.Closeable closeable, @Nullable Exception failure) {
    try {
      closeable.close();
    } catch (IOException | RuntimeException e) {
      if (failure == null) {
        return e;
      }
      failure.addSuppressed(e);
    }
    return failure;
  }

  /** Something that changes the image. */
  private interface Change {
    void run() throws IOException;
  }

  private void change(long guestOffset, long length, Change change) throws IOException {
    requireWritable();
    Objects.checkFromIndexSize(guestOffset, length, size());
    int token = enterToChange();
    try {
      // Once more: a resize may have come in between.
      Objects.checkFromIndexSize(guestOffset, length, size());
      metadata.bitmaps.mark(guestOffset, length);
      change.run();
    } catch (CorruptImageException e) {
      throw corrupt(e);
    } finally {
      requests.leave(token);
    }
  }

  /** Counts in a request that changes something, on an image that is ready for that. */
  private int enterToChange() throws IOException {
    while (true) {
      metadata.beforeChange();
      int token = requests.enter();
      if (metadata.prepared()) {
        return token;
      }
      // The image was read anew in between.
      requests.leave(token);
    }
  }

  private void requireWritable() {
    if (readOnly) {
      throw new ReadOnlyImageException(name());
    }
  }

  /** What was met is remembered on the disk, if it is this image's and may be written. */
  private CorruptImageException corrupt(CorruptImageException met) {
    if (!readOnly && met.image().equals(name())) {
      metadata.markCorrupt(met);
    }
    return met;
  }

  /** Called by a flush for what nothing refers to any more. */
  private void release(Quarantine.Batch batch) throws IOException {
    inflated.forget(batch.runs());
    for (long[] run : batch.runs()) {
      metadata.allocator.release(run[0], run[1]);
    }
    fixed.punch(batch);
  }

  /** Its dirty bitmaps. */
  Bitmaps bitmaps() throws IOException {
    int token = requests.enter();
    try {
      if (readOnly) {
        metadata.bitmaps.load(OpenParts.readHeader(metadata.storage));
      }
      return new Bitmaps(metadata, readOnly);
    } finally {
      requests.leave(token);
    }
  }

  /** See {@link Qcow2#checkKeys}. */
  void requireKeys() {
    keySlots.require();
  }

  /** Changes key slots; guest data is not touched. */
  void changeKeys(KeySlots.Change change) throws IOException {
    change(0, 0, () -> change.apply(keySlots));
  }

  /** The data file's name, if there is one. */
  Optional<String> dataFile() {
    String name = metadata.data.name();
    return name.equals(metadata.storage.name()) ? Optional.empty() : Optional.of(name);
  }

  /** The image file and the data file, for tests of this room. */
  List<Storage> storages() {
    return List.of(metadata.storage, metadata.data);
  }
}
