package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;

/**
 * Writes guest bytes: in place where only the active disk refers to a cluster, into new clusters
 * otherwise, whose L2 entries are linked only after all their bytes are written.
 *
 * <p>Spec: qcow2 digest, 12.2.
 */
final class ClusterWriter {
  /** What a disk writes whole or not at all, in bytes. */
  private static final int SECTOR = 512;

  private final Metadata metadata;
  private final Geometry geometry;
  private final Storage data;
  private final GuestReader reader;

  ClusterWriter(Metadata metadata, GuestReader reader) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.data = metadata.data;
    this.reader = reader;
  }

  /** Writes a request's bytes. */
  void write(ByteBuffer[] srcs, long guestOffset) throws IOException {
    Gather gather = new Gather(srcs);
    long at = guestOffset;
    long end = guestOffset + Gather.remaining(srcs);
    while (at < end) {
      long done = writeInPlace(gather, at, end - at);
      if (done == 0) {
        done = writeAllocating(gather, at, end - at);
      }
      at += done;
    }
  }

  /** Writes as far as clusters can be overwritten where they are; 0 if not even the first can. */
  private long writeInPlace(Gather gather, long guestOffset, long length) throws IOException {
    InPlaceRun run = inPlaceRun(guestOffset, length);
    if (run.length == 0) {
      return 0;
    }
    metadata.requireNoOverlap(run.hostOffset, run.length);
    data.event(BlockEvent.WRITE_AIO);
    data.write(gather.next(List.of(), run.length, List.of()), run.hostOffset);
    metadata.durability.dataWritten();
    return run.length;
  }

  /** Host bytes that can be overwritten; a length of 0 means none. */
  record InPlaceRun(long hostOffset, long length) {}

  /** How far guest bytes can be overwritten where they are, within one slice. */
  InPlaceRun inPlaceRun(long guestOffset, long length) throws IOException {
    Slice slice = metadata.tableWritable(guestOffset) ? metadata.slice(guestOffset) : null;
    if (slice == null) {
      return new InPlaceRun(-1, 0);
    }
    int index = geometry.entryInSlice(guestOffset);
    int subcluster = geometry.subcluster(guestOffset);
    L2Entry entry = slice.entry(index);
    if (!entry.inPlace(subcluster, geometry)) {
      return new InPlaceRun(-1, 0);
    }
    int end = subcluster + entry.run(subcluster, geometry);
    long reach = (long) end * geometry.subclusterSize() - geometry.inCluster(guestOffset);
    long host = entry.hostOffset();
    long nextHost = host + geometry.clusterSize();
    while (reach < length && end == geometry.subclusters() && ++index < geometry.sliceEntries()) {
      L2Entry next = slice.entry(index);
      if (!next.inPlace(0, geometry) || next.hostOffset() != nextHost) {
        break;
      }
      end = next.run(0, geometry);
      reach += (long) end * geometry.subclusterSize();
      nextHost += geometry.clusterSize();
    }
    return new InPlaceRun(host + geometry.inCluster(guestOffset), Math.min(reach, length));
  }

  /**
   * Writes into new clusters, at most to the end of a slice.
   *
   * @return how many bytes; 0 if somebody else allocated the first cluster meanwhile
   */
  private long writeAllocating(Gather gather, long guestOffset, long length) throws IOException {
    long inSlice = Math.min(length, sliceEnd(guestOffset) - guestOffset);
    try (Claims.Claim _ = claim(guestOffset, inSlice)) {
      Place place = place(guestOffset, inSlice);
      if (place.clusters() == 0) {
        return 0;
      }
      try {
        fill(gather, guestOffset, place);
        link(guestOffset, place);
        return place.end() - guestOffset;
      } catch (IOException | RuntimeException e) {
        giveBack(place, e);
        throw e;
      }
    }
  }

  /** Claims the clusters of a range. */
  Claims.Claim claim(long guestOffset, long length) {
    long first = geometry.clusterIndex(guestOffset);
    long last = geometry.clusterIndex(guestOffset + length - 1);
    return metadata.claims.take(first, last - first + 1);
  }

  /** The first guest offset that the next slice maps. */
  long sliceEnd(long guestOffset) {
    return (guestOffset / geometry.sliceCoverage() + 1) * geometry.sliceCoverage();
  }

  /**
   * Finds a place for the clusters of a range that cannot be written in place: as many from the
   * first on as can follow one another on the host. The range is claimed and lies in one slice.
   *
   * <p>The place is a cluster that is kept for this guest cluster already, if there is one and only
   * the active disk refers to it; the range then ends before the next subcluster that is data,
   * which is for writing in place. Otherwise the place is new.
   *
   * @return no clusters if the first byte can be written in place
   */
  Place place(long guestOffset, long length) throws IOException {
    Slice slice = metadata.writableSlice(guestOffset);
    int first = geometry.entryInSlice(guestOffset);
    int last = geometry.entryInSlice(guestOffset + length - 1);
    L2Entry entry = slice.entry(first);
    if (entry.inPlace(geometry.subcluster(guestOffset), geometry)) {
      return Place.NONE;
    }
    requireValid(slice, guestOffset, first, last);
    boolean reserved = entry.ownsCluster(geometry);
    long host = entry.hostOffset();
    long start = geometry.clusterStart(guestOffset);
    long end = placeEnd(entry, start, guestOffset, reserved);
    int index = first;
    while (index < last && end == start + geometry.clusterOffset(index - first + 1)) {
      L2Entry next = slice.entry(index + 1);
      if (next.inPlace(0, geometry)
          || next.ownsCluster(geometry) != reserved
          || (reserved && next.hostOffset() != host + geometry.clusterOffset(index + 1 - first))) {
        break;
      }
      index++;
      end = placeEnd(next, end, end, reserved);
    }
    end = Math.min(end, guestOffset + length);
    long count = index - first + 1L;
    Allocator.Taken taken = null;
    if (geometry.externalData()) {
      cancelPunches(geometry.clusterIndex(guestOffset), count);
      host = reserved ? host : start;
    } else if (reserved) {
      metadata.requireNoOverlap(host, geometry.clusterOffset(count));
    } else {
      taken = metadata.allocator.take(count);
      count = taken.count();
      host = geometry.clusterOffset(taken.firstCluster());
      end = Math.min(end, start + geometry.clusterOffset(count));
    }
    long fillFrom = geometry.subclusterStart(guestOffset);
    long fillTo = geometry.subclusterEnd(end);
    if (!reserved) {
      L2Entry lastEntry = slice.entry(first + (int) count - 1);
      long lastStart = geometry.clusterStart(end - 1);
      fillFrom =
          start
              + (long) entry.fillFrom(geometry.subcluster(guestOffset)) * geometry.subclusterSize();
      fillTo =
          lastStart
              + (long) lastEntry.fillTo(geometry.subcluster(end - 1) + 1, geometry)
                  * geometry.subclusterSize();
    }
    return new Place(host, count, fillFrom, end, fillTo, taken);
  }

  /** How far a cluster can be written at its place from a guest offset on. */
  private long placeEnd(L2Entry entry, long clusterStart, long guestOffset, boolean reserved) {
    int data =
        reserved
            ? entry.nextData(geometry.subcluster(guestOffset), geometry)
            : geometry.subclusters();
    return clusterStart + (long) data * geometry.subclusterSize();
  }

  private void cancelPunches(long guestCluster, long count) {
    metadata.lock.lock();
    try {
      for (long i = 0; i < count; i++) {
        metadata.quarantine.cancelPunch(guestCluster + i);
      }
    } finally {
      metadata.lock.unlock();
    }
  }

  /** Where a guest byte has its place. */
  long hostOffset(long guestOffset, Place place) {
    return place.hostOffset() + guestOffset - geometry.clusterStart(place.fillFrom());
  }

  /** Refuses entries that break the specification. */
  void requireValid(Slice slice, long guestOffset, int first, int last) throws IOException {
    for (int index = first; index <= last; index++) {
      reader.requireValid(slice.entry(index), guestOffset + geometry.clusterOffset(index - first));
    }
  }

  /** Writes the guest's bytes up to the place's end, and around them what was there before. */
  private void fill(Gather gather, long guestOffset, Place place) throws IOException {
    long head = guestOffset - place.fillFrom();
    long tail = place.fillTo() - place.end();
    List<ByteBuffer> before = List.of();
    List<ByteBuffer> after = List.of();
    long at = guestOffset;
    if (head > 0 || tail > 0) {
      data.event(BlockEvent.COW_READ);
      boolean headZero = reader.knownZero(place.fillFrom(), head);
      boolean tailZero = reader.knownZero(place.end(), tail);
      boolean hole = readsAsZero(place);
      boolean cheap = data.zeroesCheaply();
      if (headZero && tailZero && !hole && cheap) {
        data.writeZeroes(
            hostOffset(place.fillFrom(), place), place.fillLength(), Storage.ZeroMode.ALLOCATED);
        hole = true;
      }
      if (!(headZero && hole) && head > 0) {
        before = List.of(reader.copy(place.fillFrom(), (int) head));
        at = place.fillFrom();
      }
      if (!(tailZero && hole) && tail > 0) {
        after = List.of(reader.copy(place.end(), (int) tail));
      } else if (tail > 0 && !metadata.rawData) {
        growOver(place);
      }
    }
    if (!before.isEmpty() || !after.isEmpty()) {
      data.event(BlockEvent.COW_WRITE);
    }
    data.event(BlockEvent.WRITE_AIO);
    data.write(gather.next(before, place.end() - guestOffset, after), hostOffset(at, place));
    metadata.durability.dataWritten();
  }

  /**
   * Writes into a new place what was there before: all of it, or only what lies around the range
   * from {@code guestOffset} to the place's end, which the caller is about to overwrite.
   */
  void copyAround(long guestOffset, Place place, boolean overwrite) throws IOException {
    boolean hole = readsAsZero(place);
    boolean partly = guestOffset > place.fillFrom() || place.end() < place.fillTo();
    if (hole && (!overwrite || (partly && !metadata.rawData))) {
      growOver(place);
    }
    // Whole sectors: what the disk has may still lead here, if this is a data file, and a crash
    // must
    // not show a sector of which only what lies around was filled.
    long skipFrom = (guestOffset + SECTOR - 1) / SECTOR * SECTOR;
    long skipTo = place.end() / SECTOR * SECTOR;
    long at = place.fillFrom();
    while (at < place.fillTo()) {
      boolean skip = overwrite && at >= skipFrom && at < skipTo;
      long to = Math.min(place.fillTo(), geometry.clusterStart(at) + geometry.clusterSize());
      if (overwrite && at < skipFrom && skipFrom < skipTo) {
        to = Math.min(to, skipFrom);
      } else if (skip) {
        to = Math.min(to, skipTo);
      }
      if (!skip && !(hole && reader.knownZero(at, to - at))) {
        data.event(BlockEvent.COW_READ);
        ByteBuffer copy = reader.copy(at, (int) (to - at));
        data.event(BlockEvent.COW_WRITE);
        data.write(copy, hostOffset(at, place));
        metadata.durability.dataWritten();
      }
      at = to;
    }
  }

  /**
   * No entry may lead to a cluster behind the file's end, even if the caller writes nothing. Done
   * before anything is written there: a file that ends within a sector can keep that end in a crash
   * though the sector was written whole since, and would show half of it. (A raw data file is as
   * long as the disk from the start.)
   */
  private void growOver(Place place) throws IOException {
    long end = hostOffset(place.fillTo(), place);
    if (end > data.size()) {
      data.writeZeroes(
          end - geometry.subclusterSize(), geometry.subclusterSize(), Storage.ZeroMode.SPARSE);
      metadata.durability.dataWritten();
    }
  }

  /** Whether the part of a place that must be filled is known to read as zero. */
  private boolean readsAsZero(Place place) throws IOException {
    if (!data.holesReadAsZero()) {
      return false;
    }
    if (place.taken() != null && place.taken().untouched()) {
      return true;
    }
    long start = hostOffset(place.fillFrom(), place);
    if (start >= data.size()) {
      return true;
    }
    Storage.Run run = data.run(start, place.fillLength());
    return !run.data() && run.length() >= place.fillLength();
  }

  /**
   * Links the clusters of a place, its bytes from {@code guestOffset} on being written. The range
   * is claimed, so nobody else has changed its entries.
   */
  void link(long guestOffset, Place place) throws IOException {
    int last = (int) place.clusters() - 1;
    int firstData = geometry.subcluster(guestOffset);
    int dataEnd = geometry.subcluster(place.end() - 1) + 1;
    link(
        guestOffset,
        place,
        (entry, i, host) ->
            entry.withData(
                host,
                i == 0 ? firstData : 0,
                i == last ? dataEnd : geometry.subclusters(),
                geometry));
  }

  /**
   * Links the clusters of a place that holds zeroes: with extended L2 entries the clusters are only
   * reserved, and what they show does not change.
   *
   * @param zero whether the entries say that the clusters are zero, whatever their place holds
   */
  void linkPreallocated(long guestOffset, Place place, boolean zero) throws IOException {
    link(
        guestOffset,
        place,
        (entry, i, host) -> {
          L2Entry placed = entry.withCluster(host);
          return zero ? placed.withZero(0, geometry.subclusters(), geometry) : placed;
        });
  }

  /** What becomes of an entry. */
  private interface Change {
    L2Entry of(L2Entry entry, int cluster, long hostOffset);
  }

  private void link(long guestOffset, Place place, Change change) throws IOException {
    int index = geometry.entryInSlice(guestOffset);
    long guestCluster = geometry.clusterIndex(guestOffset);
    while (true) {
      Slice slice = metadata.writableSlice(guestOffset);
      metadata.lock.lock();
      try {
        if (slice.resident) {
          for (int i = 0; i < place.clusters(); i++) {
            long host = place.hostOffset() + geometry.clusterOffset(i);
            L2Entry entry = change.of(slice.entry(index + i), i, host);
            metadata.replace(slice, index + i, entry, guestCluster + i);
          }
          return;
        }
      } finally {
        metadata.lock.unlock();
      }
    }
  }

  /**
   * Gives back a place that is not linked, though somebody may have written there. A data file that
   * is also a raw image must go on showing the zeroes that the guest sees.
   */
  void abandon(Place place) throws IOException {
    if (place.taken() != null) {
      metadata.allocator.giveBack(place.taken().firstCluster(), place.taken().count());
    } else if (metadata.rawData) {
      data.writeZeroes(
          hostOffset(place.fillFrom(), place), place.fillLength(), Storage.ZeroMode.SPARSE);
      metadata.durability.dataWritten();
    }
  }

  /** Undoes {@link #place} after a failure. */
  void giveBack(Place place, Exception reason) {
    if (place.taken() != null) {
      metadata.giveBack(place.taken(), reason);
    }
  }
}
