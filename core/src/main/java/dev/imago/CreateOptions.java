package dev.imago;

import dev.imago.image.LuksOptions;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a new image is to look like. Immutable: each method with an argument returns a changed copy.
 * Only {@link #format()}, {@link #size()} and {@link #preallocation()} mean anything to raw images;
 * asking one for more ends in an {@link IllegalArgumentException} at creation.
 */
public final class CreateOptions {
  private String format;
  private long size;
  private int clusterSize = 64 << 10;
  private int version = 3;
  private int refcountBits = 16;
  private boolean extendedL2;
  private @Nullable String backingFile;
  private @Nullable String backingFormat;
  private @Nullable String dataFile;
  private boolean dataFileRaw;
  private Preallocation preallocation = Preallocation.OFF;
  private boolean lazyRefcounts;
  private String compressionType = "zlib";
  private @Nullable LuksOptions luks;

  /** How much of a new image is there from the beginning. */
  public enum Preallocation {
    /** Nothing. */
    OFF,
    /** Every guest cluster is mapped; its host space is a hole. Not for raw images. */
    METADATA,
    /** As METADATA, with host space reserved. */
    FALLOC,
    /** As METADATA, with zeroes written. */
    FULL
  }

  private CreateOptions(String format, long size) {
    this.format = Objects.requireNonNull(format);
    this.size = size;
  }

  private CreateOptions copy() {
    CreateOptions copy = new CreateOptions(format, size);
    copy.clusterSize = clusterSize;
    copy.version = version;
    copy.refcountBits = refcountBits;
    copy.extendedL2 = extendedL2;
    copy.backingFile = backingFile;
    copy.backingFormat = backingFormat;
    copy.dataFile = dataFile;
    copy.dataFileRaw = dataFileRaw;
    copy.preallocation = preallocation;
    copy.lazyRefcounts = lazyRefcounts;
    copy.compressionType = compressionType;
    copy.luks = luks;
    return copy;
  }

  /**
   * An image with the format's defaults.
   *
   * @param format the format's name as in {@code qemu-img -O}: {@code raw}, {@code qcow2}
   * @param size of the virtual disk in bytes, rounded up to a multiple of 512 at creation
   */
  public static CreateOptions of(String format, long size) {
    return new CreateOptions(format, size);
  }

  /** The format's name. */
  public String format() {
    return format;
  }

  /** Size of the virtual disk in bytes. */
  public CreateOptions size(long size) {
    CreateOptions copy = copy();
    copy.size = size;
    return copy;
  }

  /** Size of the virtual disk in bytes. */
  public long size() {
    return size;
  }

  /** Unit of allocation in bytes, a power of two from 512 to 2 MiB; 64 KiB unless said. */
  public CreateOptions clusterSize(int clusterSize) {
    CreateOptions copy = copy();
    copy.clusterSize = clusterSize;
    return copy;
  }

  /** Unit of allocation in bytes. */
  public int clusterSize() {
    return clusterSize;
  }

  /** The qcow2 version: 3 (QEMU's {@code compat=1.1}), or 2 ({@code compat=0.10}). */
  public CreateOptions version(int version) {
    CreateOptions copy = copy();
    copy.version = version;
    return copy;
  }

  /** The qcow2 version. */
  public int version() {
    return version;
  }

  /** Bits of a reference count: a power of two from 1 to 64; 16 unless said. */
  public CreateOptions refcountBits(int refcountBits) {
    CreateOptions copy = copy();
    copy.refcountBits = refcountBits;
    return copy;
  }

  /** Bits of a reference count. */
  public int refcountBits() {
    return refcountBits;
  }

  /**
   * Whether each qcow2 cluster has 32 subclusters that are mapped on their own, so that small
   * writes over a backing image copy less; version 3 and clusters of 16 KiB or more.
   */
  public CreateOptions extendedL2(boolean extendedL2) {
    CreateOptions copy = copy();
    copy.extendedL2 = extendedL2;
    return copy;
  }

  /** Whether each qcow2 cluster has subclusters. */
  public boolean extendedL2() {
    return extendedL2;
  }

  /**
   * The backing image, as it will stand in the new one. It is not opened, nor looked at.
   *
   * @param name relative names are relative to the new image's folder
   * @param format the backing image's format
   */
  public CreateOptions backing(String name, String format) {
    CreateOptions copy = copy();
    copy.backingFile = Objects.requireNonNull(name);
    copy.backingFormat = Objects.requireNonNull(format);
    return copy;
  }

  /** The backing image's name, or null. */
  public @Nullable String backingFile() {
    return backingFile;
  }

  /** The backing image's format, or null. */
  public @Nullable String backingFormat() {
    return backingFormat;
  }

  /**
   * Keeps guest data in a file of its own, which is made too, and emptied if it exists.
   *
   * @param name a literal file name; relative to the new image's folder
   * @param raw whether that file must stay readable as a raw image
   */
  public CreateOptions dataFile(@Nullable String name, boolean raw) {
    CreateOptions copy = copy();
    copy.dataFile = name;
    copy.dataFileRaw = raw;
    return copy;
  }

  /** The data file's name, or null. */
  public @Nullable String dataFile() {
    return dataFile;
  }

  /** Whether the data file must stay readable as a raw image. */
  public boolean dataFileRaw() {
    return dataFileRaw;
  }

  /** How much is there from the beginning. */
  public CreateOptions preallocation(Preallocation preallocation) {
    CreateOptions copy = copy();
    copy.preallocation = Objects.requireNonNull(preallocation);
    return copy;
  }

  /** How much is there from the beginning. */
  public Preallocation preallocation() {
    return preallocation;
  }

  /** Encrypts guest data; null for not. */
  public CreateOptions luks(@Nullable LuksOptions luks) {
    CreateOptions copy = copy();
    copy.luks = luks;
    return copy;
  }

  /** How guest data is encrypted, or null. */
  public @Nullable LuksOptions luks() {
    return luks;
  }

  /** Whether QEMU may postpone the writing of reference counts. */
  public CreateOptions lazyRefcounts(boolean lazyRefcounts) {
    CreateOptions copy = copy();
    copy.lazyRefcounts = lazyRefcounts;
    return copy;
  }

  /** Whether QEMU may postpone the writing of reference counts. */
  public boolean lazyRefcounts() {
    return lazyRefcounts;
  }

  /** How compressed clusters are made: {@code zlib}, {@code zstd}. */
  public CreateOptions compressionType(String compressionType) {
    CreateOptions copy = copy();
    copy.compressionType = Objects.requireNonNull(compressionType);
    return copy;
  }

  /** How compressed clusters are made. */
  public String compressionType() {
    return compressionType;
  }
}
