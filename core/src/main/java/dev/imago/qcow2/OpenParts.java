package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.CorruptImageException;
import dev.imago.image.Image;
import dev.imago.image.ImageFormatException;
import dev.imago.image.Progress;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.SnapshotEntry;
import dev.imago.storage.BlockEvent;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What opening an image puts together: header, tables, map of metadata, backing image, data file.
 *
 * @param data the data file, or the image file itself
 * @param encryption where guest data is in the clear
 * @param size bytes of the disk
 * @param lateCounts whether refcounts may reach the disk late
 */
record OpenParts(
    Storage storage,
    Storage data,
    Encryption encryption,
    @Nullable Image backing,
    HeaderCluster cluster,
    long size,
    PointerTable l1,
    PointerTable reftable,
    MetadataMap map,
    boolean lateCounts,
    Qcow2OpenOptions options,
    Events events) {

  Header header() {
    return cluster.header();
  }

  /** Opens an image; closes everything again if that fails. */
  static Qcow2Image open(
      Storage storage, Qcow2OpenOptions options, ReferenceOpener references, Events events)
      throws IOException {
    List<AutoCloseable> opened = new ArrayList<>();
    opened.add(storage);
    try {
      if (options.writable() && options.snapshot() != null) {
        throw new IllegalArgumentException("a snapshot is opened for reading only");
      }
      if (options.writable() && options.rescue()) {
        throw new IllegalArgumentException("a rescue is for reading only");
      }
      HeaderCluster cluster =
          options.rescue() ? HeaderReader.readForCheck(storage) : readHeader(storage);
      boolean lateCounts =
          LateCounts.allowed(storage.name(), cluster.header(), options.lazyRefcounts());
      if (options.writable()) {
        cluster = makeWritable(storage, cluster);
      }
      Header header = cluster.header();
      Storage data = storage;
      if (header.externalData()) {
        data = openData(storage, options, references, cluster);
        opened.add(data);
      }
      Encryption encryption = Encryption.open(storage, data, cluster, options);
      opened.add(encryption.guestData());
      Image backing = null;
      String backingName = cluster.backingName().orElse("");
      if (options.backing() && (!backingName.isEmpty() || options.backingInAnyCase())) {
        backing = references.openBacking(backingName, cluster.backingFormat().orElse(null));
        opened.add(backing);
      }
      Disk disk = disk(storage, header, options.snapshot(), options.rescue());
      PointerTable l1 = new PointerTable("L1 table", disk.l1, disk.l1TableOffset);
      PointerTable reftable = new PointerTable("refcount table", new long[0], 0);
      MetadataMap map = new MetadataMap(header.clusterBits());
      if (options.writable()) {
        reftable = readReftable(storage, header);
        fill(map, storage, header, l1, reftable);
        cluster
            .luks()
            .ifPresent(luks -> map.add(luks.offset(), header.geometry().clusters(luks.length())));
      }
      return new Qcow2Image(
          new OpenParts(
              storage,
              data,
              encryption,
              backing,
              cluster,
              disk.size,
              l1,
              reftable,
              map,
              lateCounts,
              options,
              events));
    } catch (IOException | RuntimeException e) {
      for (AutoCloseable each : opened.reversed()) {
        try {
          each.close();
        } catch (Exception suppressed) {
          e.addSuppressed(suppressed);
        }
      }
      throw e;
    }
  }

  /**
   * Whose bytes are read: the active disk, or a snapshot's.
   *
   * @param size in bytes
   * @param l1 the entries of its L1 table
   */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  record Disk(long size, long l1TableOffset, long[] l1) {}

  /**
   * Reads where a disk begins.
   *
   * @param snapshot the id or name of a snapshot, or null for the active disk
   */
  static Disk disk(Storage storage, Header header, @Nullable String snapshot) throws IOException {
    return disk(storage, header, snapshot, false);
  }

  private static Disk disk(
      Storage storage, Header header, @Nullable String snapshot, boolean rescue)
      throws IOException {
    if (snapshot == null) {
      int count = (int) header.l1Size();
      long[] l1 =
          rescue
              ? Rescue.l1(storage, header.l1TableOffset(), count)
              : Words.read(storage, header.l1TableOffset(), count);
      return new Disk(header.size(), header.l1TableOffset(), l1);
    }
    SnapshotStore store = new SnapshotStore(storage, header);
    SnapshotEntry entry = store.find(snapshot);
    long size = entry.diskSize(header.size());
    if (size < 0) {
      throw new ImageFormatException(
          storage.name(),
          store.hostOffset(),
          "snapshot disk size",
          "%s; it must be below 2^63".formatted(Long.toUnsignedString(size)));
    }
    return new Disk(size, entry.l1TableOffset(), store.l1(entry, rescue));
  }

  /**
   * The metadata of an image in the middle of its repair, whatever its feature bits say. The
   * storage is not closed. What is freed keeps its count.
   */
  static Metadata openForRepair(Storage storage) throws IOException {
    HeaderCluster cluster = readHeader(storage);
    Header header = cluster.header();
    Disk disk = disk(storage, header, null);
    PointerTable l1 = new PointerTable("L1 table", disk.l1, disk.l1TableOffset);
    PointerTable reftable = readReftable(storage, header);
    MetadataMap map = new MetadataMap(header.clusterBits());
    fill(map, storage, header, l1, reftable);
    OpenParts parts =
        new OpenParts(
            storage,
            storage,
            Encryption.locked(storage, header),
            null,
            cluster,
            header.size(),
            l1,
            reftable,
            map,
            false,
            Qcow2OpenOptions.defaults().withWritable(true),
            Events.NONE);
    return new Metadata(parts, batch -> {});
  }

  static HeaderCluster readHeader(Storage storage) throws IOException {
    ByteBuffer first = start(storage, HeaderCluster.PROBE_BYTES);
    int clusterSize = HeaderCluster.clusterSize(first, storage.name());
    return HeaderCluster.parse(start(storage, clusterSize), storage.name());
  }

  private static ByteBuffer start(Storage storage, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate((int) Math.min(length, storage.size()));
    storage.read(bytes, 0);
    return bytes.flip();
  }

  private static HeaderCluster makeWritable(Storage storage, HeaderCluster cluster)
      throws IOException {
    Header header = cluster.header();
    if (header.corrupt()) {
      throw new CorruptImageException(
          storage.name(),
          Header.AT_INCOMPATIBLE,
          "incompatible_features",
          "Image is corrupt; cannot be opened read/write",
          "open it read-only to save its data, or repair it");
    }
    if (!header.dirty()) {
      return cluster;
    }
    RepairResult repaired = Qcow2Repair.run(storage, RepairMode.ALL, Progress.NONE);
    CheckResult left = repaired.left();
    if (left.corruptions() + left.checkErrors() > 0) {
      throw new CorruptImageException(
          storage.name(),
          -1,
          "metadata",
          "the dirty bit is set, but more is wrong than can be repaired: "
              + (left.findings().isEmpty() ? repaired.lines() : left.findings()).getFirst(),
          "open the image read-only to save its data");
    }
    return HeaderReader.read(storage);
  }

  private static Storage openData(
      Storage storage, Qcow2OpenOptions options, ReferenceOpener references, HeaderCluster cluster)
      throws IOException {
    if (!options.dataFile()) {
      return new AbsentDataFile(storage.name());
    }
    String name = cluster.dataFileName().orElse("");
    if (name.isEmpty()) {
      throw new UnsupportedFeatureException(
          storage.name(),
          -1,
          "data file name",
          "'data-file' is required for this image",
          "name the data file when opening");
    }
    return references.openDataFile(name, options.writable());
  }

  static PointerTable readReftable(Storage storage, Header header) throws IOException {
    int entries = (int) header.refcountTableClusters() << header.clusterBits() - 3;
    storage.event(BlockEvent.REFTABLE_LOAD);
    return new PointerTable(
        "refcount table",
        Words.read(storage, header.refcountTableOffset(), entries),
        header.refcountTableOffset());
  }

  /** Enters all metadata that is known without reading L2 tables. */
  static void fill(
      MetadataMap map, Storage storage, Header header, PointerTable l1, PointerTable reftable)
      throws IOException {
    Geometry geometry = header.geometry();
    map.add(0, 1);
    map.add(l1.hostOffset(), geometry.clusters((long) l1.length() * Geometry.ENTRY_BYTES));
    map.add(reftable.hostOffset(), header.refcountTableClusters());
    for (int i = 0; i < reftable.length(); i++) {
      if (reftable.target(i) != 0) {
        requireAligned(storage, geometry, reftable, i);
        map.add(reftable.target(i), 1);
      }
    }
    for (int i = 0; i < l1.length(); i++) {
      if (l1.target(i) != 0) {
        map.add(l1.target(i), 1);
      }
    }
    if (header.snapshotCount() > 0) {
      fillSnapshots(map, storage, header, geometry);
    }
  }

  private static void requireAligned(
      Storage storage, Geometry geometry, PointerTable reftable, int index)
      throws CorruptImageException {
    if (geometry.inCluster(reftable.target(index)) != 0) {
      throw new CorruptImageException(
          storage.name(),
          reftable.hostOffset() + (long) index * Geometry.ENTRY_BYTES,
          "refcount table entry",
          "refcount block offset 0x%x is not a multiple of the cluster size"
              .formatted(reftable.target(index)),
          "run a check; the refcounts need a repair");
    }
  }

  private static void fillSnapshots(
      MetadataMap map, Storage storage, Header header, Geometry geometry) throws IOException {
    long length =
        SnapshotTable.read(
            storage,
            header,
            (entry, at) -> {
              entry.requireL1(at, geometry, storage.name());
              if (entry.l1Size() > 0) {
                long bytes = entry.l1Size() * Geometry.ENTRY_BYTES;
                map.add(entry.l1TableOffset(), geometry.clusters(bytes));
              }
            });
    map.add(header.snapshotsOffset(), Math.max(1, geometry.clusters(length)));
  }
}
