package dev.imago.qcow2;

import dev.imago.image.LuksOptions;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a new qcow2 image is to look like. Immutable: each {@code with} method returns a changed
 * copy. What contradicts itself or the format is refused when an image is made.
 */
public final class Qcow2CreateOptions {
  private final long size;
  private int clusterSize = 64 << 10;
  private int version = 3;
  private int refcountBits = 16;
  private boolean lazyRefcounts;
  private String compressionType = "zlib";
  private boolean extendedL2;
  private @Nullable String backingFile;
  private @Nullable String backingFormat;
  private @Nullable String dataFile;
  private boolean dataFileRaw;
  private Preallocation preallocation = Preallocation.OFF;
  private @Nullable LuksOptions luks;

  private Qcow2CreateOptions(long size) {
    this.size = size;
  }

  private Qcow2CreateOptions copy() {
    Qcow2CreateOptions copy = new Qcow2CreateOptions(size);
    copy.clusterSize = clusterSize;
    copy.version = version;
    copy.refcountBits = refcountBits;
    copy.lazyRefcounts = lazyRefcounts;
    copy.compressionType = compressionType;
    copy.extendedL2 = extendedL2;
    copy.backingFile = backingFile;
    copy.backingFormat = backingFormat;
    copy.dataFile = dataFile;
    copy.dataFileRaw = dataFileRaw;
    copy.preallocation = preallocation;
    copy.luks = luks;
    return copy;
  }

  /** How much of a new image is there from the beginning. */
  public enum Preallocation {
    /** Nothing. */
    OFF,
    /** Every guest cluster has its host cluster; their host space is a hole. */
    METADATA,
    /** As METADATA, with host space reserved. */
    FALLOC,
    /** As METADATA, with zeroes written. */
    FULL
  }

  /** What {@code qemu-img create} makes without options: version 3, clusters of 64 KiB. */
  public static Qcow2CreateOptions ofSize(long size) {
    return new Qcow2CreateOptions(size);
  }

  /** Bytes of the disk; rounded up to a multiple of 512. */
  public long size() {
    return size;
  }

  /** A copy with another cluster size: a power of two, 512 bytes to 2 MiB. */
  public Qcow2CreateOptions withClusterSize(int value) {
    Qcow2CreateOptions copy = copy();
    copy.clusterSize = value;
    return copy;
  }

  /** Bytes of a cluster. */
  public int clusterSize() {
    return clusterSize;
  }

  /**
   * A copy with another version, 2 or 3, and width of reference counts: a power of two, 1 to 64; 16
   * in version 2.
   */
  public Qcow2CreateOptions withVersion(int newVersion, int newRefcountBits) {
    Qcow2CreateOptions copy = copy();
    copy.version = newVersion;
    copy.refcountBits = newRefcountBits;
    return copy;
  }

  /** The format's version. */
  public int version() {
    return version;
  }

  /** Bits of a reference count. */
  public int refcountBits() {
    return refcountBits;
  }

  /** A copy that allows counts to be written late, or not; version 3 only. */
  public Qcow2CreateOptions withLazyRefcounts(boolean value) {
    Qcow2CreateOptions copy = copy();
    copy.lazyRefcounts = value;
    return copy;
  }

  /** Whether counts may be written late. */
  public boolean lazyRefcounts() {
    return lazyRefcounts;
  }

  /** A copy with another compression type: {@code zlib} or, in version 3, {@code zstd}. */
  public Qcow2CreateOptions withCompressionType(String value) {
    Qcow2CreateOptions copy = copy();
    copy.compressionType = Objects.requireNonNull(value);
    return copy;
  }

  /** How compressed clusters are made. */
  public String compressionType() {
    return compressionType;
  }

  /**
   * A copy with clusters of 32 subclusters each, or not; version 3 only, clusters of 16 KiB or
   * more.
   */
  public Qcow2CreateOptions withExtendedL2(boolean value) {
    Qcow2CreateOptions copy = copy();
    copy.extendedL2 = value;
    return copy;
  }

  /** Whether clusters have subclusters. */
  public boolean extendedL2() {
    return extendedL2;
  }

  /**
   * A copy with another backing file.
   *
   * @param name as it is to stand in the image, or null for none
   * @param format required if and only if there is a name
   */
  public Qcow2CreateOptions withBacking(@Nullable String name, @Nullable String format) {
    Qcow2CreateOptions copy = copy();
    copy.backingFile = name;
    copy.backingFormat = format;
    return copy;
  }

  /** The backing file's name, or null. */
  public @Nullable String backingFile() {
    return backingFile;
  }

  /** The backing file's format, or null. */
  public @Nullable String backingFormat() {
    return backingFormat;
  }

  /**
   * A copy that keeps guest data apart.
   *
   * @param name of the data file, as it is to stand in the image, or null for none
   * @param raw whether the data file is to be a raw image of the disk at all times
   */
  public Qcow2CreateOptions withDataFile(@Nullable String name, boolean raw) {
    Qcow2CreateOptions copy = copy();
    copy.dataFile = name;
    copy.dataFileRaw = raw;
    return copy;
  }

  /** The data file's name, or null. */
  public @Nullable String dataFile() {
    return dataFile;
  }

  /** Whether the data file is a raw image of the disk at all times. */
  public boolean dataFileRaw() {
    return dataFileRaw;
  }

  /** A copy whose guest data is encrypted, or not if null. */
  public Qcow2CreateOptions withLuks(@Nullable LuksOptions value) {
    Qcow2CreateOptions copy = copy();
    copy.luks = value;
    return copy;
  }

  /** How guest data is encrypted, or null. */
  public @Nullable LuksOptions luks() {
    return luks;
  }

  /** A copy with another preallocation; with a backing file only if there are subclusters. */
  public Qcow2CreateOptions withPreallocation(Preallocation value) {
    Qcow2CreateOptions copy = copy();
    copy.preallocation = Objects.requireNonNull(value);
    return copy;
  }

  /** How much is there from the beginning. */
  public Preallocation preallocation() {
    return preallocation;
  }
}
