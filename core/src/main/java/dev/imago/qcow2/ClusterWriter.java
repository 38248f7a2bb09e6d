package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.qcow2.ondisk.L2Entry.Kind;
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

  /** Whether a cluster's bytes may be overwritten where they are. */
  boolean inPlace(long entry) {
    return L2Entry.kind(entry, geometry) == Kind.DATA && entry < 0;
  }

  /** Writes as far as clusters can be overwritten where they are; 0 if not even the first can. */
  private long writeInPlace(Gather gather, long guestOffset, long length) throws IOException {
    InPlaceRun run = inPlaceRun(guestOffset, length);
    if (run.length == 0) {
      return 0;
    }
    metadata.requireNoOverlap(run.hostOffset, run.length);
    data.write(gather.next(List.of(), run.length, List.of()), run.hostOffset);
    metadata.durability.dataWritten();
    return run.length;
  }

  /** Host bytes that can be overwritten; a length of 0 means none. */
  record InPlaceRun(long hostOffset, long length) {}

  /** How far guest bytes can be overwritten where they are, within one slice. */
  InPlaceRun inPlaceRun(long guestOffset, long length) throws IOException {
    Slice slice = metadata.tableWritable(guestOffset) ? metadata.slice(guestOffset) : null;
    int word = geometry.wordOfL2Index(geometry.l2Index(guestOffset));
    if (slice == null || !inPlace(slice.word(word))) {
      return new InPlaceRun(-1, 0);
    }
    long host = slice.word(word) & Geometry.OFFSET_MASK;
    long reach = geometry.clusterSize() - geometry.inCluster(guestOffset);
    long nextHost = host + geometry.clusterSize();
    while (reach < length && ++word < geometry.sliceWords()) {
      long entry = slice.word(word);
      if (!inPlace(entry) || (entry & Geometry.OFFSET_MASK) != nextHost) {
        break;
      }
      reach += geometry.clusterSize();
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
        long end =
            Math.min(
                guestOffset + inSlice,
                geometry.clusterStart(guestOffset) + geometry.clusterOffset(place.clusters()));
        fill(gather, guestOffset, end, place);
        link(guestOffset, place);
        return end - guestOffset;
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
    long bytes = (long) geometry.sliceWords() << geometry.clusterBits();
    return (guestOffset / bytes + 1) * bytes;
  }

  /**
   * Finds a place for the clusters of a range that cannot be written in place: as many from the
   * first on as can follow one another on the host. The range is claimed and lies in one slice.
   *
   * @return no clusters if the first can be written in place
   */
  Place place(long guestOffset, long length) throws IOException {
    Slice slice = metadata.writableSlice(guestOffset);
    int first = geometry.wordOfL2Index(geometry.l2Index(guestOffset));
    int last = geometry.wordOfL2Index(geometry.l2Index(guestOffset + length - 1));
    long entry = slice.word(first);
    long guestCluster = geometry.clusterIndex(guestOffset);
    if (inPlace(entry)) {
      return new Place(-1, 0, null);
    }
    requireValid(slice, guestOffset, first, last);
    boolean reserved = reserved(entry);
    long host = entry & Geometry.OFFSET_MASK;
    int word = first + 1;
    while (word <= last) {
      long next = slice.word(word);
      if (inPlace(next)
          || reserved(next) != reserved
          || (reserved
              && (next & Geometry.OFFSET_MASK) != host + geometry.clusterOffset(word - first))) {
        break;
      }
      word++;
    }
    long count = (long) word - first;
    if (geometry.externalData()) {
      metadata.lock.lock();
      try {
        for (long i = 0; i < count; i++) {
          metadata.quarantine.cancelPunch(guestCluster + i);
        }
      } finally {
        metadata.lock.unlock();
      }
      return new Place(geometry.clusterOffset(guestCluster), count, null);
    }
    if (reserved) {
      metadata.requireNoOverlap(host, geometry.clusterOffset(count));
      return new Place(host, count, null);
    }
    Allocator.Taken taken = metadata.allocator.take(count);
    return new Place(geometry.clusterOffset(taken.firstCluster()), taken.count(), taken);
  }

  /** Refuses entries that break the specification. */
  void requireValid(Slice slice, long guestOffset, int firstWord, int lastWord) throws IOException {
    for (int word = firstWord; word <= lastWord; word++) {
      reader.requireValid(slice.word(word), guestOffset + geometry.clusterOffset(word - firstWord));
    }
  }

  /** Whether an entry reads as zero but has a cluster of its own, to be used for data. */
  private boolean reserved(long entry) {
    return L2Entry.kind(entry, geometry) == Kind.ZERO_ALLOCATED && entry < 0;
  }

  /** Writes the guest's bytes from guestOffset to end, and around them what was there before. */
  private void fill(Gather gather, long guestOffset, long end, Place place) throws IOException {
    long head = geometry.inCluster(guestOffset);
    long first = guestOffset - head;
    long behind = first + geometry.clusterOffset(place.clusters());
    long tail = behind - end;
    List<ByteBuffer> before = List.of();
    List<ByteBuffer> after = List.of();
    long at = place.hostOffset() + head;
    if (head > 0 || tail > 0) {
      boolean headZero = head == 0 || reader.knownZero(first, head);
      boolean tailZero = tail == 0 || reader.knownZero(end, tail);
      boolean hole = readsAsZero(place);
      boolean cheap = data.zeroesCheaply();
      if (headZero && tailZero && !hole && cheap) {
        data.writeZeroes(
            place.hostOffset(),
            geometry.clusterOffset(place.clusters()),
            Storage.ZeroMode.ALLOCATED);
        hole = true;
      }
      if (!(headZero && hole) && head > 0) {
        before = List.of(reader.copy(first, (int) head));
        at = place.hostOffset();
      }
      if (!(tailZero && hole) && tail > 0) {
        after = List.of(reader.copy(end, (int) tail));
      }
    }
    data.write(gather.next(before, end - guestOffset, after), at);
    metadata.durability.dataWritten();
  }

  /**
   * Writes into a new place what was there before: all of it, or only what lies around a range that
   * the caller is about to overwrite.
   */
  void copyAround(long guestOffset, long length, Place place, boolean overwrite)
      throws IOException {
    long first = geometry.clusterStart(guestOffset);
    long end = first + geometry.clusterOffset(place.clusters());
    boolean hole = readsAsZero(place);
    long at = first;
    while (at < end) {
      boolean skip = overwrite && at >= guestOffset && at < guestOffset + length;
      long to = Math.min(end, geometry.clusterStart(at) + geometry.clusterSize());
      if (overwrite && at < guestOffset) {
        to = Math.min(to, guestOffset);
      } else if (skip) {
        to = Math.min(to, guestOffset + length);
      }
      if (!skip && !(hole && reader.knownZero(at, to - at))) {
        data.write(reader.copy(at, (int) (to - at)), place.hostOffset() + at - first);
        metadata.durability.dataWritten();
      }
      at = to;
    }
    if (hole && !overwrite) {
      growOver(place);
    }
  }

  /** No entry may lead to a cluster behind the file's end, even if the caller writes nothing. */
  private void growOver(Place place) throws IOException {
    long end = place.hostOffset() + geometry.clusterOffset(place.clusters());
    if (end > data.size()) {
      data.writeZeroes(
          end - geometry.clusterSize(), geometry.clusterSize(), Storage.ZeroMode.SPARSE);
      metadata.durability.dataWritten();
    }
  }

  /** Whether a new place is known to read as zero. */
  boolean readsAsZero(Place place) throws IOException {
    if (place.taken() != null && place.taken().untouched()) {
      return true;
    }
    long length = geometry.clusterOffset(place.clusters());
    if (place.hostOffset() >= data.size()) {
      return true;
    }
    Storage.Run run = data.run(place.hostOffset(), length);
    return !run.data() && run.length() >= length;
  }

  /** Links new clusters. The range is claimed, so nobody else has changed its entries. */
  void link(long guestOffset, Place place) throws IOException {
    int word = geometry.wordOfL2Index(geometry.l2Index(guestOffset));
    long guestCluster = geometry.clusterIndex(guestOffset);
    while (true) {
      Slice slice = metadata.writableSlice(guestOffset);
      metadata.lock.lock();
      try {
        if (slice.resident) {
          for (int i = 0; i < place.clusters(); i++) {
            long entry = place.hostOffset() + geometry.clusterOffset(i) | Geometry.COPIED;
            metadata.replace(slice, word + i, entry, guestCluster + i);
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
          place.hostOffset(), geometry.clusterOffset(place.clusters()), Storage.ZeroMode.SPARSE);
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
