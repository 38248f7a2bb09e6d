package dev.imago.qcow2;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.internal.Buffers;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.ZeroMode;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Makes clusters zero or unmapped, and parts of clusters zero: subclusters by their entry's bitmap,
 * what is smaller by writing zeroes.
 *
 * <p>Spec: qcow2 digest, 12.3.
 */
final class FixedMappings {
  private static final int ZERO_BUFFER = 256 << 10;

  private final Metadata metadata;
  private final Geometry geometry;
  private final GuestReader reader;
  private final ClusterWriter writer;
  private final @Nullable Image backing;

  FixedMappings(
      Metadata metadata, GuestReader reader, ClusterWriter writer, @Nullable Image backing) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.reader = reader;
    this.writer = writer;
    this.backing = backing;
  }

  /** See {@link Image#discard}. */
  Range discard(long guestOffset, long length, Discard kind) throws IOException {
    long end = guestOffset + length;
    long first = geometry.clusterOffset(geometry.clusters(guestOffset));
    long last =
        end == metadata.size()
            ? geometry.clusterOffset(geometry.clusters(end))
            : geometry.clusterStart(end);
    if (last <= first || !possible(kind)) {
      return new Range(first, 0);
    }
    change(first, last, kind);
    return new Range(first, Math.min(last, end) - first);
  }

  /** Version 2 cannot say that a cluster is zero: only that nothing is there. */
  private boolean possible(Discard kind) {
    boolean zero = kind == Discard.TO_ZERO || kind == Discard.TO_ZERO_KEEPING_SPACE;
    return !zero || geometry.version() >= 3 || backing == null;
  }

  /** See {@link Image#writeZeroes}. */
  void writeZeroes(long guestOffset, long length, boolean mayUnmap) throws IOException {
    long end = guestOffset + length;
    long first = geometry.subclusterEnd(guestOffset);
    boolean toImageEnd = end == metadata.size();
    long last =
        toImageEnd ? geometry.clusterOffset(geometry.clusters(end)) : geometry.subclusterStart(end);
    Discard kind = mayUnmap ? Discard.TO_ZERO : Discard.TO_ZERO_KEEPING_SPACE;
    if (last <= first) {
      writeZeroBytes(guestOffset, end, mayUnmap);
      return;
    }
    writeZeroBytes(guestOffset, first, mayUnmap);
    if (possible(kind)) {
      changeWithParts(first, last, kind);
    } else {
      writeZeroBytes(first, Math.min(last, end), mayUnmap);
    }
    if (last < end) {
      writeZeroBytes(last, end, mayUnmap);
    }
  }

  /** Zeroes whole subclusters: by their entries, or by writing where the entry cannot say so. */
  private void changeWithParts(long first, long end, Discard kind) throws IOException {
    long at = first;
    while (at < end) {
      long clusterEnd = geometry.clusterStart(at) + geometry.clusterSize();
      long lastCluster = geometry.clusterStart(end);
      if (geometry.inCluster(at) == 0 && lastCluster > at) {
        change(at, lastCluster, kind);
        at = lastCluster;
      } else {
        long to = Math.min(clusterEnd, end);
        if (!changePart(at, to, kind)) {
          writeZeroBytes(at, Math.min(to, metadata.size()), kind == Discard.TO_ZERO);
        }
        at = to;
      }
    }
  }

  /** Zeroes some subclusters of a cluster; false if its entry cannot speak of parts. */
  private boolean changePart(long first, long end, Discard kind) throws IOException {
    if (metadata.withoutTable(first) && backing == null) {
      return true;
    }
    try (Claims.Claim _ = writer.claim(first, end - first)) {
      Slice slice = metadata.slice(first);
      if (slice != null && slice.entry(geometry.entryInSlice(first)).compressed()) {
        return false;
      }
      changeInSlice(first, end, kind);
      return true;
    }
  }

  /** Changes the mapping of whole clusters, slice by slice. */
  private void change(long first, long end, Discard kind) throws IOException {
    long at = first;
    while (at < end) {
      if (metadata.withoutTable(at) && !(zeroes(kind) && backing != null)) {
        at = (at / geometry.l2Coverage() + 1) * geometry.l2Coverage();
        continue;
      }
      long to = Math.min(end, writer.sliceEnd(at));
      try (Claims.Claim _ = writer.claim(at, to - at)) {
        changeInSlice(at, to, kind);
      }
      at = to;
    }
  }

  private static boolean zeroes(Discard kind) {
    return kind == Discard.TO_ZERO || kind == Discard.TO_ZERO_KEEPING_SPACE;
  }

  /** Changes whole clusters, or parts of one that is not compressed. The range is claimed. */
  private void changeInSlice(long first, long end, Discard kind) throws IOException {
    int index = geometry.entryInSlice(first);
    int count = geometry.entryInSlice(end - 1) - index + 1;
    int from = geometry.subcluster(first);
    int to = geometry.subcluster(end - 1) + 1;
    Slice before = metadata.slice(first);
    boolean anything = before == null;
    if (before != null) {
      writer.requireValid(before, first, index, index + count - 1);
    }
    for (int i = 0; before != null && i < count; i++) {
      L2Entry entry = before.entry(index + i);
      if (!changed(entry, kind, from, to).equals(entry)) {
        anything = true;
        if (metadata.rawData) {
          long start = first + geometry.clusterOffset(i);
          zeroInDataFile(start, Math.min(end - start, geometry.clusterSize()), entry, kind);
        }
      }
    }
    while (anything) {
      Slice slice = metadata.writableSlice(first);
      metadata.lock.lock();
      try {
        if (slice.resident) {
          for (int i = 0; i < count; i++) {
            L2Entry entry = slice.entry(index + i);
            L2Entry wanted = changed(entry, kind, from, to);
            if (!wanted.equals(entry)) {
              metadata.replace(slice, index + i, wanted, geometry.clusterIndex(first) + i);
            }
          }
          return;
        }
      } finally {
        metadata.lock.unlock();
      }
    }
  }

  /** The data file must read as the disk does at every moment, so it comes first. */
  private void zeroInDataFile(long guestOffset, long bytes, L2Entry entry, Discard kind)
      throws IOException {
    if (entry.unmapped(geometry)) {
      return;
    }
    long length = Math.min(bytes, metadata.size() - guestOffset);
    metadata.data.writeZeroes(
        guestOffset,
        length,
        kind == Discard.TO_ZERO_KEEPING_SPACE ? ZeroMode.ALLOCATED : ZeroMode.SPARSE);
    metadata.durability.dataWritten();
  }

  /** What an entry becomes if these subclusters, which may be all, are changed. */
  private L2Entry changed(L2Entry entry, Discard kind, int from, int to) {
    if (to - from < geometry.subclusters()) {
      return partlyZero(entry, from, to);
    }
    L2Entry zero = L2Entry.zero(geometry);
    boolean keepsSpace = entry.compressed() || entry.hasCluster(geometry);
    boolean readsAsZero = entry.allZero(geometry) || (!keepsSpace && backing == null);
    return switch (kind) {
      case TO_BACKING -> L2Entry.NOTHING;
      case TO_ANY -> !keepsSpace ? entry : backing == null ? L2Entry.NOTHING : zero;
      case TO_ZERO -> keepsSpace || !readsAsZero ? zero : entry;
      case TO_ZERO_KEEPING_SPACE -> {
        if (readsAsZero) {
          yield entry;
        }
        yield geometry.version() >= 3 && entry.ownsCluster(geometry)
            ? entry.withZero(0, geometry.subclusters(), geometry)
            : zero;
      }
    };
  }

  private L2Entry partlyZero(L2Entry entry, int from, int to) {
    boolean zeroAlready = backing == null && entry.nextData(from, geometry) >= to;
    return zeroAlready ? entry : entry.withZero(from, to, geometry);
  }

  /** Zeroes bytes that are no whole subclusters, or that the format cannot call zero. */
  private void writeZeroBytes(long guestOffset, long end, boolean mayUnmap) throws IOException {
    long at = guestOffset;
    while (at < end) {
      long to = Math.min(end, geometry.clusterStart(at) + geometry.clusterSize());
      zeroPart(at, to - at, mayUnmap);
      at = to;
    }
  }

  /** Zeroes bytes of one cluster; those around them are not touched. */
  private void zeroPart(long guestOffset, long length, boolean mayUnmap) throws IOException {
    if (reader.knownZero(guestOffset, length)) {
      return;
    }
    ClusterWriter.InPlaceRun run = writer.inPlaceRun(guestOffset, length);
    if (run.length() == length) {
      metadata.requireNoOverlap(run.hostOffset(), length);
      metadata.data.writeZeroes(
          run.hostOffset(), length, mayUnmap ? ZeroMode.SPARSE : ZeroMode.ALLOCATED);
      metadata.durability.dataWritten();
      return;
    }
    writeZeroData(guestOffset, guestOffset + length);
  }

  /** Writes zeroes as a guest would who does not know that they are zeroes. */
  void writeZeroData(long guestOffset, long end) throws IOException {
    ByteBuffer zeroes = Buffers.zeroes(Math.min(end - guestOffset, ZERO_BUFFER));
    long at = guestOffset;
    while (at < end) {
      ByteBuffer part = zeroes.duplicate();
      part.limit((int) Math.min(part.limit(), end - at));
      int count = part.remaining();
      writer.write(new ByteBuffer[] {part}, at);
      at += count;
    }
  }

  /** Gives back, in a data file, the places of guest clusters that left quarantine. */
  void punch(Quarantine.Batch batch) throws IOException {
    Storage data = metadata.data;
    for (long guestCluster : batch.punches()) {
      try (Claims.Claim claim = metadata.claims.tryTake(guestCluster, 1)) {
        if (claim != null && stillWanted(batch, guestCluster)) {
          data.discard(geometry.clusterOffset(guestCluster), geometry.clusterSize());
        }
      }
    }
  }

  private boolean stillWanted(Quarantine.Batch batch, long guestCluster) {
    metadata.lock.lock();
    try {
      return metadata.quarantine.stillToPunch(batch, guestCluster);
    } finally {
      metadata.lock.unlock();
    }
  }
}
