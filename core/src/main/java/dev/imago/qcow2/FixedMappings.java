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
 * Makes whole clusters zero or unmapped, and parts of clusters zero.
 *
 * <p>Spec: qcow2 digest, 12.3.
 */
final class FixedMappings {
  private static final int ZERO_BUFFER = 256 << 10;

  private final Metadata metadata;
  private final Geometry geometry;
  private final ClusterWriter writer;
  private final @Nullable Image backing;

  FixedMappings(Metadata metadata, ClusterWriter writer, @Nullable Image backing) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
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
    long first = geometry.clusterOffset(geometry.clusters(guestOffset));
    boolean toImageEnd = end == metadata.size();
    long last =
        toImageEnd ? geometry.clusterOffset(geometry.clusters(end)) : geometry.clusterStart(end);
    Discard kind = mayUnmap ? Discard.TO_ZERO : Discard.TO_ZERO_KEEPING_SPACE;
    if (last <= first) {
      zeroParts(guestOffset, end, mayUnmap);
      return;
    }
    zeroParts(guestOffset, first, mayUnmap);
    if (possible(kind)) {
      change(first, last, kind);
    } else {
      zeroParts(first, Math.min(last, end), mayUnmap);
    }
    if (last < end) {
      zeroParts(last, end, mayUnmap);
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

  private void changeInSlice(long first, long end, Discard kind) throws IOException {
    int word = geometry.wordOfL2Index(geometry.l2Index(first));
    int words = (int) geometry.clusterIndex(end - first);
    Slice before = metadata.slice(first);
    boolean anything = before == null;
    if (before != null) {
      writer.requireValid(before, first, word, word + words - 1);
    }
    for (int i = 0; before != null && i < words; i++) {
      long entry = before.word(word + i);
      if (changed(entry, kind) != entry) {
        anything = true;
        if (metadata.rawData) {
          zeroInDataFile(first + geometry.clusterOffset(i), entry, kind);
        }
      }
    }
    while (anything) {
      Slice slice = metadata.writableSlice(first);
      metadata.lock.lock();
      try {
        if (slice.resident) {
          for (int i = 0; i < words; i++) {
            long entry = slice.word(word + i);
            long wanted = changed(entry, kind);
            if (wanted != entry) {
              metadata.replace(slice, word + i, wanted, geometry.clusterIndex(first) + i);
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
  private void zeroInDataFile(long guestOffset, long entry, Discard kind) throws IOException {
    if (L2Entry.kind(entry, geometry) == L2Entry.Kind.UNALLOCATED) {
      return;
    }
    long length = Math.min(geometry.clusterSize(), metadata.size() - guestOffset);
    metadata.data.writeZeroes(
        guestOffset,
        length,
        kind == Discard.TO_ZERO_KEEPING_SPACE ? ZeroMode.ALLOCATED : ZeroMode.SPARSE);
    metadata.durability.dataWritten();
  }

  /** What an entry becomes. */
  private long changed(long entry, Discard kind) {
    long plainZero = geometry.version() >= 3 ? Geometry.READS_AS_ZERO : 0;
    L2Entry.Kind now = L2Entry.kind(entry, geometry);
    return switch (kind) {
      case TO_BACKING -> 0;
      case TO_ANY ->
          switch (now) {
            case UNALLOCATED, ZERO -> entry;
            default -> backing == null ? 0 : plainZero;
          };
      case TO_ZERO ->
          switch (now) {
            case UNALLOCATED -> backing == null ? entry : plainZero;
            case ZERO -> entry;
            default -> plainZero;
          };
      case TO_ZERO_KEEPING_SPACE ->
          switch (now) {
            case UNALLOCATED -> backing == null ? entry : plainZero;
            case ZERO, ZERO_ALLOCATED -> entry;
            case DATA ->
                geometry.version() >= 3 && entry < 0 ? entry | Geometry.READS_AS_ZERO : plainZero;
            default -> plainZero;
          };
    };
  }

  /** Zeroes bytes that are no whole clusters, or that the format cannot call zero. */
  private void zeroParts(long guestOffset, long end, boolean mayUnmap) throws IOException {
    long at = guestOffset;
    while (at < end) {
      long to = Math.min(end, geometry.clusterStart(at) + geometry.clusterSize());
      zeroPart(at, to - at, mayUnmap);
      at = to;
    }
  }

  /** Zeroes bytes of one cluster; those around them are not touched. */
  private void zeroPart(long guestOffset, long length, boolean mayUnmap) throws IOException {
    Slice slice = metadata.slice(guestOffset);
    int word = geometry.wordOfL2Index(geometry.l2Index(guestOffset));
    L2Entry.Kind kind =
        slice == null ? L2Entry.Kind.UNALLOCATED : L2Entry.kind(slice.word(word), geometry);
    boolean zeroAlready =
        switch (kind) {
          case ZERO, ZERO_ALLOCATED -> true;
          case UNALLOCATED -> backing == null || guestOffset >= backing.size();
          default -> false;
        };
    if (zeroAlready) {
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
    ByteBuffer zeroes = Buffers.zeroes(Math.min(length, ZERO_BUFFER));
    long at = guestOffset;
    while (at < guestOffset + length) {
      ByteBuffer part = zeroes.duplicate();
      part.limit((int) Math.min(part.limit(), guestOffset + length - at));
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
