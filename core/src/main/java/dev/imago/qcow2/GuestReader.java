package dev.imago.qcow2;

import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.L2Entry;
import dev.imago.qcow2.ondisk.L2Entry.Kind;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Finds and reads guest bytes.
 *
 * <p>Spec: qcow2 digest, 6.
 */
final class GuestReader {
  private final Metadata metadata;
  private final Geometry geometry;
  private final Storage data;
  private final Encryption encryption;
  private final @Nullable Image backing;
  private final InflatedClusters inflated;
  private final boolean writable;

  GuestReader(
      Metadata metadata,
      Encryption encryption,
      @Nullable Image backing,
      InflatedClusters inflated,
      boolean writable) {
    this.metadata = metadata;
    this.geometry = metadata.geometry;
    this.data = metadata.data;
    this.encryption = encryption;
    this.backing = backing;
    this.inflated = inflated;
    this.writable = writable;
  }

  /**
   * A run of guest bytes of one kind, in one slice.
   *
   * @param entry of the first cluster
   */
  private record Run(Kind kind, L2Entry entry, long length) {}

  /** What is at a guest offset, and how far that goes, at most {@code maxLength}. */
  private Run run(@Nullable Slice slice, long guestOffset, long maxLength)
      throws CorruptImageException {
    if (slice == null) {
      return new Run(Kind.UNALLOCATED, L2Entry.NOTHING, lengthWithoutTable(guestOffset, maxLength));
    }
    int index = geometry.entryInSlice(guestOffset);
    int subcluster = geometry.subcluster(guestOffset);
    L2Entry first = slice.entry(index);
    Kind kind = first.kind(subcluster, geometry);
    if (kind == Kind.INVALID) {
      throw invalid(guestOffset, first);
    }
    int end = subcluster + first.run(subcluster, geometry);
    long length = (long) end * geometry.subclusterSize() - geometry.inCluster(guestOffset);
    L2Entry before = first;
    while (length < maxLength
        && end == geometry.subclusters()
        && kind != Kind.COMPRESSED
        && ++index < geometry.sliceEntries()) {
      L2Entry next = slice.entry(index);
      if (next.kind(0, geometry) != kind || !follows(before, next)) {
        break;
      }
      before = next;
      end = next.run(0, geometry);
      length += (long) end * geometry.subclusterSize();
    }
    return new Run(kind, first, Math.min(length, maxLength));
  }

  /** Whether the host clusters of two entries follow one another, or neither has one. */
  private boolean follows(L2Entry before, L2Entry next) {
    return before.hasCluster(geometry)
        ? next.descriptor() == before.descriptor() + geometry.clusterSize()
            && (next.descriptor() ^ before.descriptor()) >= 0
        : !next.hasCluster(geometry);
  }

  private long lengthWithoutTable(long guestOffset, long maxLength) {
    long table = geometry.l1Index(guestOffset);
    long reach = (table + 1) * geometry.l2Coverage() - guestOffset;
    while (reach < maxLength && metadata.l1.target(++table) == 0) {
      reach += geometry.l2Coverage();
    }
    return Math.min(reach, maxLength);
  }

  /** Refuses an entry that breaks the specification, before anything is built on it. */
  void requireValid(L2Entry entry, long guestOffset) throws CorruptImageException {
    if (entry.kind(0, geometry) == Kind.INVALID) {
      throw invalid(guestOffset, entry);
    }
  }

  private CorruptImageException invalid(long guestOffset, L2Entry entry) {
    long at =
        metadata.l1.target(geometry.l1Index(guestOffset))
            + (long) geometry.l2Index(guestOffset) * geometry.l2EntryBytes();
    return new CorruptImageException(
        metadata.name,
        at,
        "L2 entry",
        entry.problem(geometry) + " (guest offset 0x%x)".formatted(guestOffset),
        "run a check");
  }

  /** Fills a buffer. The range lies within the disk. */
  void read(ByteBuffer dst, long guestOffset) throws IOException {
    long at = guestOffset;
    int limit = dst.limit();
    while (dst.position() < limit) {
      Run run = there(run(metadata.slice(at), at, limit - dst.position()), at);
      dst.limit(dst.position() + (int) run.length);
      switch (run.kind) {
        case DATA -> readData(dst, run.entry.hostOffset() + geometry.inCluster(at), at);
        case COMPRESSED ->
            inflated.read(dst, run.entry.descriptor(), (int) geometry.inCluster(at), at);
        case ZERO, ZERO_ALLOCATED -> zero(dst);
        default -> readBehind(dst, at);
      }
      at += run.length;
      dst.limit(limit);
    }
  }

  /** What of a run can be read: all of it, but in a rescue. */
  private Run there(Run run, long guestOffset) throws IOException {
    if (!metadata.rescue || run.kind != Kind.DATA) {
      return run;
    }
    long hostOffset = run.entry.hostOffset() + geometry.inCluster(guestOffset);
    return new Run(run.kind, run.entry, Rescue.there(data, geometry, hostOffset, run.length));
  }

  private void readData(ByteBuffer dst, long hostOffset, long guestOffset) throws IOException {
    data.event(BlockEvent.READ_AIO);
    LegacyAes legacy = encryption.legacy();
    if (legacy != null) {
      legacy.read(dst, hostOffset, guestOffset);
    } else {
      data.read(dst, hostOffset);
    }
  }

  private void readBehind(ByteBuffer dst, long guestOffset) throws IOException {
    if (backing != null && guestOffset < backing.size()) {
      int limit = dst.limit();
      long there = Math.min(dst.remaining(), backing.size() - guestOffset);
      dst.limit(dst.position() + (int) there);
      data.event(BlockEvent.READ_BACKING_AIO);
      backing.read(dst, guestOffset);
      dst.limit(limit);
    }
    zero(dst);
  }

  static void zero(ByteBuffer dst) {
    if (dst.hasRemaining()) {
      MemorySegment.ofBuffer(dst).fill((byte) 0);
      dst.position(dst.limit());
    }
  }

  /** Fills a buffer if everything is at hand; otherwise leaves its position as it was. */
  boolean readNow(ByteBuffer dst, long guestOffset) throws IOException {
    if (metadata.rescue) {
      return false;
    }
    int start = dst.position();
    int limit = dst.limit();
    long at = guestOffset;
    boolean all = true;
    try {
      while (all && dst.position() < limit) {
        Slice slice = metadata.sliceNow(at);
        if (slice == null && !metadata.withoutTable(at)) {
          all = false;
          break;
        }
        Run run = run(slice, at, limit - dst.position());
        int next = dst.position() + (int) run.length;
        dst.limit(next);
        all =
            switch (run.kind) {
              case DATA -> data.readNow(dst, run.entry.hostOffset() + geometry.inCluster(at));
              case ZERO, ZERO_ALLOCATED -> true;
              case UNALLOCATED -> readBehindNow(dst, at);
              case COMPRESSED ->
                  inflated.readNow(dst, run.entry.descriptor(), (int) geometry.inCluster(at));
              case INVALID -> false;
            };
        if (all && (run.kind == Kind.ZERO || run.kind == Kind.ZERO_ALLOCATED)) {
          zero(dst);
        }
        at += run.length;
        dst.limit(limit);
        if (all) {
          dst.position(next);
        }
      }
      return all;
    } finally {
      dst.limit(limit);
      if (!all) {
        dst.position(start);
      }
    }
  }

  private boolean readBehindNow(ByteBuffer dst, long guestOffset) throws IOException {
    if (backing == null || guestOffset >= backing.size()) {
      zero(dst);
      return true;
    }
    return guestOffset + dst.remaining() <= backing.size() && backing.readNow(dst, guestOffset);
  }

  /** Where this layer keeps bytes; see {@link Image#map}. */
  Mapping map(long guestOffset, long maxLength) throws IOException {
    Slice slice = metadata.slice(guestOffset);
    Run run = run(slice, guestOffset, maxLength);
    long all = slice == null ? run.length : lengthInTable(run, guestOffset, maxLength);
    long length = there(new Run(run.kind, run.entry, all), guestOffset).length;
    long host = run.entry.hostOffset() + geometry.inCluster(guestOffset);
    return switch (run.kind) {
      case DATA -> dataAt(host, guestOffset, length, run.entry.descriptor());
      case ZERO -> new Mapping.Zero(length, true, -1);
      case ZERO_ALLOCATED -> new Mapping.Zero(length, true, host);
      case COMPRESSED ->
          new Mapping.Encoded(
              metadata.storage,
              inflated.encoding(),
              geometry.compressedOffset(run.entry.descriptor()),
              geometry.compressedLength(run.entry.descriptor()),
              length);
      default -> unallocated(guestOffset, length, run.entry.hasCluster(geometry) ? host : -1);
    };
  }

  /** Encrypted data is nothing that others could read or copy as it lies there. */
  private Mapping dataAt(long hostOffset, long guestOffset, long length, long entry) {
    String method = encryption.method();
    return method != null
        ? new Mapping.Encoded(data, method, hostOffset, length, length)
        : new Mapping.Data(
            data, hostOffset, length, writable && entry < 0 && metadata.tableWritable(guestOffset));
  }

  private Mapping unallocated(long guestOffset, long length, long reserved) {
    return backing == null
        ? new Mapping.Unallocated(length, reserved)
        : new Mapping.Backing(backing, guestOffset, length, reserved);
  }

  /** Lengthens a run over further slices of the same L2 table that are at hand. */
  private long lengthInTable(Run first, long guestOffset, long maxLength)
      throws CorruptImageException {
    long length = first.length;
    while (length < maxLength && first.kind != Kind.COMPRESSED) {
      long at = guestOffset + length;
      Slice slice = metadata.sliceNow(at);
      if (geometry.inCluster(at) != 0
          || slice == null
          || geometry.l1Index(at) != geometry.l1Index(guestOffset)
          || geometry.entryInSlice(at) != 0) {
        break;
      }
      long expected = first.entry.descriptor() + at - geometry.clusterStart(guestOffset);
      L2Entry entry = slice.entry(0);
      if (entry.kind(0, geometry) != first.kind
          || entry.hasCluster(geometry) != first.entry.hasCluster(geometry)
          || (entry.hasCluster(geometry) && entry.descriptor() != expected)) {
        break;
      }
      length += run(slice, at, maxLength - length).length;
    }
    return length;
  }

  /** Whether a range is known to read as zero without reading data. */
  boolean knownZero(long guestOffset, long length) throws IOException {
    long end = guestOffset + length;
    for (long at = guestOffset; at < end; ) {
      Run run = run(metadata.slice(at), at, end - at);
      boolean zero =
          switch (run.kind) {
            case ZERO, ZERO_ALLOCATED -> true;
            case UNALLOCATED -> backing == null || at >= backing.size();
            default -> at >= metadata.size();
          };
      if (!zero) {
        return false;
      }
      at += run.length;
    }
    return true;
  }

  /** A copy of guest bytes; those behind the disk's end are zero. */
  ByteBuffer copy(long guestOffset, int length) throws IOException {
    ByteBuffer copy = ByteBuffer.allocateDirect(length);
    long there = Math.clamp(metadata.size() - guestOffset, 0, length);
    if (there > 0) {
      copy.limit((int) there);
      read(copy, guestOffset);
    }
    copy.limit(length);
    zero(copy);
    return copy.flip();
  }

  /** What lies behind this layer. */
  @Nullable Image backing() {
    return backing;
  }
}
