package dev.imago.qcow2;

import org.jspecify.annotations.Nullable;

/**
 * What is to be changed in an image that exists. What is not said stays as it is.
 *
 * @param version 2 or 3; 0 to leave it
 * @param refcountBits a power of two from 1 to 64; 0 to leave it
 * @param size of the disk in bytes; -1 to leave it. A shorter disk loses what lies behind its end
 * @param lazyRefcounts whether counts may be written late, from when the image is opened next
 * @param dataFile another name for the data file, as it will stand in the image; empty for none
 * @param dataFileRaw whether the data file must stay a raw image: can be taken back only
 */
public record Qcow2AmendOptions(
    int version,
    int refcountBits,
    long size,
    @Nullable Boolean lazyRefcounts,
    @Nullable String dataFile,
    @Nullable Boolean dataFileRaw) {

  /** Nothing is to be changed. */
  public static final Qcow2AmendOptions NOTHING = new Qcow2AmendOptions(0, 0, -1, null, null, null);

  /** A copy with another {@link #version}. */
  public Qcow2AmendOptions withVersion(int newVersion) {
    return new Qcow2AmendOptions(
        newVersion, refcountBits, size, lazyRefcounts, dataFile, dataFileRaw);
  }

  /** A copy with another {@link #refcountBits}. */
  public Qcow2AmendOptions withRefcountBits(int bits) {
    return new Qcow2AmendOptions(version, bits, size, lazyRefcounts, dataFile, dataFileRaw);
  }

  /** A copy with another {@link #size}. */
  public Qcow2AmendOptions withSize(long newSize) {
    return new Qcow2AmendOptions(
        version, refcountBits, newSize, lazyRefcounts, dataFile, dataFileRaw);
  }

  /** A copy with other {@link #lazyRefcounts}. */
  public Qcow2AmendOptions withLazyRefcounts(boolean lazy) {
    return new Qcow2AmendOptions(version, refcountBits, size, lazy, dataFile, dataFileRaw);
  }

  /** A copy with another {@link #dataFile}. */
  public Qcow2AmendOptions withDataFile(String name) {
    return new Qcow2AmendOptions(version, refcountBits, size, lazyRefcounts, name, dataFileRaw);
  }

  /** A copy with another {@link #dataFileRaw}. */
  public Qcow2AmendOptions withDataFileRaw(boolean raw) {
    return new Qcow2AmendOptions(version, refcountBits, size, lazyRefcounts, dataFile, raw);
  }
}
