package dev.imago.qcow2;

import dev.imago.crypto.LuksArea;
import dev.imago.image.LuksOptions;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.Qcow2CreateOptions.Preallocation;
import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.FeatureName;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.HeaderDraft;
import dev.imago.qcow2.ondisk.HeaderExtension;
import dev.imago.qcow2.ondisk.LuksPointer;
import dev.imago.qcow2.ondisk.RefcountBlock;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import dev.imago.storage.Storage.ZeroMode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongUnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * Writes a new image: header, refcount table, refcount blocks, L1 table and, if the guest's
 * clusters are preallocated, L2 tables and data, one behind the other.
 *
 * <p>The first sector is written last, after a flush, so that a crash leaves either a whole image
 * or something that does not look like one.
 */
final class Qcow2Creator {
  /** QEMU leaves the feature table out of clusters up to this size; so do we. */
  private static final int TABLE_ABOVE = 4096;

  private static final int SECTOR = 512;
  private static final int CHUNK = 1 << 20;
  static final String TOO_LARGE =
      "The image size is too large for file format 'qcow2' (try using a larger cluster size)";
  private static final String V3_ONLY =
      " only supported with compatibility level 1.1 and above (use version=v3 or greater)";

  private final Storage storage;
  private final Qcow2CreateOptions options;
  private final long size;
  private final Geometry g;
  private final Preallocation preallocation;
  private final SyncMode sync;
  private final long oldSize;
  private final long luksBytes;

  // The layout, in clusters: the header is cluster 0, the refcount table starts at 1.
  private final long tableClusters;
  private final long blocks;
  private final long l1Entries;
  private final long luksStart;
  private final long l1Start;
  private final long l2Start;
  private final long l2Tables;
  private final long dataStart;
  private final long end;

  private Qcow2Creator(Storage storage, Qcow2CreateOptions options, SyncMode sync)
      throws IOException {
    this.sync = sync;
    this.storage = storage;
    this.options = options;
    size = options.size() + SECTOR - 1 & -SECTOR;
    g =
        new Geometry(
            Integer.numberOfTrailingZeros(options.clusterSize()),
            Integer.numberOfTrailingZeros(options.refcountBits()),
            options.version(),
            options.dataFile() != null,
            options.extendedL2());
    boolean raw = options.dataFileRaw() && options.preallocation() == Preallocation.OFF;
    preallocation = raw ? Preallocation.METADATA : options.preallocation();
    oldSize = storage.size();

    l1Entries = g.l1Entries(size);
    if (l1Entries > Geometry.MAX_L1_ENTRIES) {
      throw new IllegalArgumentException(TOO_LARGE);
    }
    boolean mapped = preallocation != Preallocation.OFF;
    long dataClusters = mapped && !g.externalData() ? g.clusters(size) : 0;
    l2Tables = mapped ? l1Entries : 0;
    long l1Clusters = g.clusters(l1Entries * Geometry.ENTRY_BYTES);
    LuksOptions luks = options.luks();
    luksBytes = luks == null ? 0 : LuksArea.bytes(luks);
    long luksClusters = g.clusters(luksBytes);
    long fixed = 1 + luksClusters + l1Clusters + l2Tables + dataClusters;
    long[] refcounts = refcountClusters(fixed, g);
    tableClusters = refcounts[0];
    blocks = refcounts[1];
    if (blocks > Geometry.MAX_REFTABLE_ENTRIES) {
      throw new IllegalArgumentException(TOO_LARGE);
    }
    luksStart = 1 + tableClusters + blocks;
    l1Start = luksStart + luksClusters;
    l2Start = l1Start + l1Clusters;
    dataStart = l2Start + l2Tables;
    end = dataStart + dataClusters;
    if (end > g.clusterIndex(Geometry.MAX_HOST_OFFSET)) {
      throw new IllegalArgumentException(TOO_LARGE);
    }
  }

  /**
   * Clusters of the refcount table and of all refcount blocks that count {@code fixed} clusters and
   * themselves.
   */
  static long[] refcountClusters(long fixed, Geometry g) {
    long table = 1;
    long blocks = 1;
    while (true) {
      long total = fixed + table + blocks;
      long needed = (total + g.refcountsPerBlock() - 1) / g.refcountsPerBlock();
      long neededTable = g.clusters(needed * Geometry.ENTRY_BYTES);
      if (needed <= blocks && neededTable <= table) {
        return new long[] {table, blocks};
      }
      blocks = Math.max(blocks, needed);
      table = Math.max(table, neededTable);
    }
  }

  /** See {@link Qcow2#create}. */
  static void create(
      Storage storage, Qcow2CreateOptions options, @Nullable Storage dataFile, SyncMode sync)
      throws IOException {
    validate(options);
    if ((dataFile != null) != (options.dataFile() != null)) {
      throw new IllegalArgumentException(
          dataFile == null
              ? "'data-file' is required for this image"
              : "no data file was asked for");
    }
    Qcow2Creator creator = new Qcow2Creator(storage, options, sync);
    ByteBuffer cluster0 = creator.cluster0();
    creator.requireRoom();
    creator.forgetOldHeader();
    creator.writeTables();
    creator.provideData();
    if (dataFile != null) {
      creator.provideDataFile(dataFile);
    }
    creator.writeHeader(cluster0);
  }

  /** See {@link Qcow2#validate}. */
  static void check(Qcow2CreateOptions options) throws IOException {
    validate(options);
    new Qcow2Creator(new MemoryStorage("new"), options, SyncMode.NONE).cluster0();
  }

  private static void validate(Qcow2CreateOptions o) {
    boolean v3 = o.version() == 3;
    if (o.version() != 2 && !v3) {
      throw new IllegalArgumentException(
          "Parameter 'version' does not accept value '%d'".formatted(o.version()));
    }
    if (o.size() < 0 || o.size() > Long.MAX_VALUE - SECTOR) {
      throw new IllegalArgumentException(TOO_LARGE);
    }
    if (o.extendedL2() && !v3) {
      throw new IllegalArgumentException("Extended L2 entries are" + V3_ONLY);
    }
    if (!powerOfTwo(o.clusterSize(), SECTOR, 2 << 20)) {
      throw new IllegalArgumentException(
          "Cluster size must be a power of two between 512 and 2048k");
    }
    if (o.extendedL2() && o.clusterSize() < 1 << Geometry.MIN_EXTENDED_L2_BITS) {
      throw new IllegalArgumentException(
          "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
    }
    if (o.preallocation() != Preallocation.OFF && o.backingFile() != null && !o.extendedL2()) {
      throw new IllegalArgumentException(
          "Backing file and preallocation can only be used at the same time if extended_l2 is on");
    }
    if (o.lazyRefcounts() && !v3) {
      throw new IllegalArgumentException("Lazy refcounts" + V3_ONLY);
    }
    if (!powerOfTwo(o.refcountBits(), 1, 64)) {
      throw new IllegalArgumentException(
          "Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (o.refcountBits() != 16 && !v3) {
      throw new IllegalArgumentException(
          "Different refcount widths than 16 bits require compatibility level 1.1 or above"
              + " (use version=v3 or greater)");
    }
    if (o.dataFileRaw() && o.dataFile() == null) {
      throw new IllegalArgumentException("data-file-raw requires data-file");
    }
    if (o.dataFileRaw() && o.backingFile() != null) {
      throw new IllegalArgumentException(
          "Backing file and data-file-raw cannot be used at the same time");
    }
    if (o.dataFile() != null && !v3) {
      throw new IllegalArgumentException("External data files are" + V3_ONLY);
    }
    if (!o.compressionType().equals("zlib")) {
      if (!o.compressionType().equals("zstd")) {
        throw new IllegalArgumentException(
            "Parameter 'compression-type' does not accept value '%s'"
                .formatted(o.compressionType()));
      }
      if (!v3) {
        throw new IllegalArgumentException("Non-zlib compression type is" + V3_ONLY);
      }
    }
    validateNames(o);
    validateEncryption(o, v3);
  }

  private static void validateEncryption(Qcow2CreateOptions o, boolean v3) {
    LuksOptions luks = o.luks();
    if (luks == null) {
      return;
    }
    LuksArea.validate(luks);
    if (o.dataFileRaw()) {
      throw new IllegalArgumentException(
          "Encryption and data-file-raw cannot be used at the same time");
    }
    if (!v3 && o.preallocation() != Preallocation.OFF) {
      throw new IllegalArgumentException("Preallocation of encrypted images is" + V3_ONLY);
    }
  }

  private static void validateNames(Qcow2CreateOptions o) {
    String format = o.backingFormat();
    if (format != null && o.backingFile() == null) {
      throw new IllegalArgumentException("Backing format cannot be used without backing file");
    }
    if (o.backingFile() != null && format == null) {
      throw new IllegalArgumentException("Backing file specified without backing format");
    }
    if (format != null && (format.isEmpty() || Bytes.of(format).size() > 15)) {
      throw new IllegalArgumentException(
          "Parameter 'backing-fmt' does not accept value '%s'".formatted(format));
    }
    for (String name : new String[] {o.backingFile(), o.dataFile()}) {
      if (name != null && (name.isEmpty() || name.indexOf('\0') >= 0)) {
        throw new IllegalArgumentException("a file name in an image has at least one byte, no NUL");
      }
    }
  }

  private static boolean powerOfTwo(int value, int least, int most) {
    return value >= least && value <= most && Integer.bitCount(value) == 1;
  }

  private ByteBuffer cluster0() {
    HeaderDraft d = new HeaderDraft();
    d.clusterBits = g.clusterBits();
    d.size = size;
    d.l1Size = l1Entries;
    d.l1TableOffset = l1Entries == 0 ? 0 : g.clusterOffset(l1Start);
    d.refcountTableOffset = g.clusterOffset(1);
    d.refcountTableClusters = tableClusters;
    d.refcountOrder = g.refcountOrder();
    if (options.version() == 2) {
      d.toVersion2();
    }
    List<HeaderExtension> extensions = new ArrayList<>();
    if (options.backingFormat() != null) {
      extensions.add(HeaderExtension.of(HeaderExtension.BACKING_FORMAT, options.backingFormat()));
    }
    if (options.dataFile() != null) {
      d.incompatible |= Header.INCOMPATIBLE_DATA_FILE;
      extensions.add(HeaderExtension.of(HeaderExtension.DATA_FILE, options.dataFile()));
    }
    if (luksBytes > 0) {
      d.cryptMethod = Header.CRYPT_LUKS;
      extensions.add(new LuksPointer(g.clusterOffset(luksStart), luksBytes).extension());
    }
    if (options.dataFileRaw()) {
      d.autoclear |= Header.AUTOCLEAR_RAW_DATA_FILE;
    }
    if (options.lazyRefcounts()) {
      d.compatible |= Header.COMPATIBLE_LAZY_REFCOUNTS;
    }
    if (options.compressionType().equals("zstd")) {
      d.incompatible |= Header.INCOMPATIBLE_COMPRESSION_TYPE;
      d.compressionType = Header.COMPRESSION_ZSTD;
    }
    if (options.extendedL2()) {
      d.incompatible |= Header.INCOMPATIBLE_EXTENDED_L2;
    }
    if (options.version() == 3 && g.clusterSize() > TABLE_ABOVE) {
      extensions.add(FeatureName.table(FeatureName.KNOWN));
    }
    String name = options.backingFile();
    Bytes rawName = name == null ? Bytes.NONE : Bytes.of(name);
    return new HeaderCluster(d.header(), extensions, rawName).write();
  }

  /** What cannot grow says so while the old bytes are there. */
  private void requireRoom() throws IOException {
    if (storage.fixedSize() && fileEnd() > oldSize) {
      storage.resize(fileEnd(), Storage.Preallocation.OFF);
    }
  }

  /** What was an image before must not look like one while the new one is only half there. */
  private void forgetOldHeader() throws IOException {
    if (oldSize > 0) {
      storage.write(ByteBuffer.allocate(SECTOR), 0);
      flush(storage);
    }
  }

  private void writeTables() throws IOException {
    zero(0, 1);
    writeLuksHeader();
    write(1, tableClusters, blocks, i -> g.clusterOffset(1 + tableClusters + i));
    writeRefcountBlocks();
    LongUnaryOperator l1 = i -> i < l2Tables ? g.clusterOffset(l2Start + i) | Geometry.COPIED : 0;
    if (l2Tables == 0) {
      zero(l1Start, l2Start);
    } else {
      write(l1Start, l2Start - l1Start, l1Entries, l1);
      long dataOffset = g.externalData() ? 0 : g.clusterOffset(dataStart);
      // What was never encrypted would not read as zero.
      long unwritten = luksBytes > 0 && !g.extendedL2() ? Geometry.READS_AS_ZERO : 0;
      // Of an extended entry the second word stays 0: the subclusters are not allocated.
      int words = g.l2EntryWords();
      write(
          l2Start,
          l2Tables,
          g.clusters(size) * words,
          i ->
              i % words == 0
                  ? g.clusterOffset(i / words) + dataOffset | Geometry.COPIED | unwritten
                  : 0);
    }
  }

  /** Makes a key. Where nobody writes key material, old contents of the file are cleared. */
  private void writeLuksHeader() throws IOException {
    LuksOptions luks = options.luks();
    if (luks != null) {
      zero(luksStart, l1Start);
      new LuksArea(storage, g.clusterOffset(luksStart), luksBytes).create(luks).close();
    }
  }

  /** Writes whole clusters of table entries, of which the first {@code count} are not 0. */
  private void write(long firstCluster, long clusters, long count, LongUnaryOperator entry)
      throws IOException {
    long total = clusters << g.clusterBits() - 3;
    ByteBuffer buffer = ByteBuffer.allocateDirect((int) Math.min(CHUNK, total * 8));
    for (long i = 0; i < total; ) {
      long at = g.clusterOffset(firstCluster) + i * 8;
      buffer.clear();
      for (; i < total && buffer.hasRemaining(); i++) {
        buffer.putLong(i < count ? entry.applyAsLong(i) : 0);
      }
      storage.write(buffer.flip(), at);
    }
  }

  private void writeRefcountBlocks() throws IOException {
    long perBlock = g.refcountsPerBlock();
    int perChunk = (int) Math.max(1, Math.min(blocks, CHUNK / g.clusterSize()));
    ByteBuffer buffer = ByteBuffer.allocateDirect(perChunk << g.clusterBits());
    if (end >= perBlock) {
      RefcountBlock.fillOnes(buffer, 0, (int) (perChunk * perBlock), g.refcountOrder());
    }
    for (long block = 0; block < blocks; block += perChunk) {
      int now = (int) Math.min(perChunk, blocks - block);
      long used = Math.min(end - block * perBlock, now * perBlock);
      if (used < now * perBlock) {
        buffer.clear().put(new byte[buffer.capacity()]);
        RefcountBlock.fillOnes(buffer, 0, (int) Math.max(0, used), g.refcountOrder());
      }
      buffer.clear().limit(now << g.clusterBits());
      storage.write(buffer, g.clusterOffset(1 + tableClusters + block));
    }
  }

  /** Makes clusters read as zero whatever the storage held. */
  private void zero(long firstCluster, long endCluster) throws IOException {
    long at = g.clusterOffset(firstCluster);
    long length = Math.min(oldSize, g.clusterOffset(endCluster)) - at;
    if (length > 0) {
      storage.writeZeroes(at, length, ZeroMode.SPARSE);
    }
  }

  /** Makes the file as long as it has to be, with host space as asked for. */
  private void provideData() throws IOException {
    provide(storage, Math.min(g.clusterOffset(dataStart), fileEnd()), fileEnd(), oldSize);
  }

  private long fileEnd() {
    return l2Tables == 0
        ? g.clusterOffset(l1Start) + l1Entries * Geometry.ENTRY_BYTES
        : g.clusterOffset(end);
  }

  private void provideDataFile(Storage dataFile) throws IOException {
    // Where nothing is mapped the guest never sees what was in the data file.
    long old = preallocation == Preallocation.OFF ? 0 : dataFile.size();
    provide(dataFile, 0, size, old);
    flush(dataFile);
  }

  /**
   * Makes {@code from} to {@code to} read as zero and own host space as asked for.
   *
   * @param old below this there may be something else
   */
  private void provide(Storage target, long from, long to, long old) throws IOException {
    boolean reserve = preallocation == Preallocation.FALLOC || preallocation == Preallocation.FULL;
    long now = target.size();
    if (Math.min(old, to) > from) {
      ZeroMode mode = reserve ? ZeroMode.ALLOCATED : ZeroMode.SPARSE;
      target.writeZeroes(from, Math.min(old, to) - from, mode);
      now = target.size();
    }
    if (now < from) {
      target.resize(from, Storage.Preallocation.OFF);
    }
    if (now < to) {
      target.resize(
          to,
          switch (preallocation) {
            case OFF, METADATA -> Storage.Preallocation.OFF;
            case FALLOC -> Storage.Preallocation.FALLOC;
            case FULL -> Storage.Preallocation.FULL;
          });
    }
  }

  private void flush(Storage what) throws IOException {
    if (sync != SyncMode.NONE) {
      what.flush();
    }
  }

  private void writeHeader(ByteBuffer cluster0) throws IOException {
    if (cluster0.limit() > SECTOR) {
      storage.write(cluster0.slice(SECTOR, cluster0.limit() - SECTOR), SECTOR);
    }
    flush(storage);
    storage.write(cluster0.slice(0, Math.min(SECTOR, cluster0.limit())), 0);
    flush(storage);
  }
}
