package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.FeatureName;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.HeaderExtension;
import org.jspecify.annotations.Nullable;

/** Changes of cluster 0 that need nothing else to be changed. No I/O. */
final class Amendments {
  /** Clusters of this size and below have no room for the names of feature bits. */
  private static final int NAMES_ABOVE = 4096;

  private Amendments() {}

  /** Version 3, with the names of feature bits if there is room for them. */
  static HeaderCluster upgraded(HeaderCluster cluster) {
    HeaderCluster plain = cluster.withHeader(cluster.header().upgraded());
    if (1 << cluster.header().clusterBits() <= NAMES_ABOVE) {
      return plain;
    }
    return plain.with(FeatureName.table(FeatureName.KNOWN));
  }

  /** Version 2: without feature bits and their names, and without bitmaps that nobody trusts. */
  static HeaderCluster downgraded(HeaderCluster cluster) {
    return cluster
        .withHeader(cluster.header().downgraded())
        .without(HeaderExtension.FEATURE_NAMES)
        .without(HeaderExtension.BITMAPS);
  }

  /** Whether reference counts may be written late, under the dirty bit. */
  static HeaderCluster lazyRefcounts(HeaderCluster cluster, boolean lazy) {
    long others = cluster.header().compatible() & ~Header.COMPATIBLE_LAZY_REFCOUNTS;
    long bit = lazy ? Header.COMPATIBLE_LAZY_REFCOUNTS : 0;
    return cluster.withHeader(cluster.header().withCompatible(others | bit));
  }

  /** Another name for the data file; empty for none. */
  static HeaderCluster dataFile(HeaderCluster cluster, String name) {
    if (name.indexOf('\0') >= 0) {
      throw new IllegalArgumentException("Invalid argument");
    }
    return name.isEmpty()
        ? cluster.without(HeaderExtension.DATA_FILE)
        : cluster.with(HeaderExtension.of(HeaderExtension.DATA_FILE, name));
  }

  /** The data file need not be a raw image any more. */
  static HeaderCluster notRaw(HeaderCluster cluster) {
    long others = cluster.header().autoclear() & ~Header.AUTOCLEAR_RAW_DATA_FILE;
    return cluster.withHeader(cluster.header().withAutoclear(others));
  }

  /** Names another backing file, or none: see {@link Qcow2#changeBacking}. */
  static HeaderCluster backing(
      HeaderCluster cluster, @Nullable String name, @Nullable String format) {
    if (name == null || name.isEmpty()) {
      return cluster.withBackingName("").without(HeaderExtension.BACKING_FORMAT);
    }
    if (format == null || format.isEmpty()) {
      throw new IllegalArgumentException("backing format must be specified");
    }
    if ((cluster.header().autoclear() & Header.AUTOCLEAR_RAW_DATA_FILE) != 0) {
      throw new IllegalArgumentException("Invalid argument");
    }
    if (Bytes.of(format).size() > 15 || name.indexOf('\0') >= 0) {
      throw new IllegalArgumentException("Invalid argument");
    }
    return cluster
        .withBackingName(name)
        .with(HeaderExtension.of(HeaderExtension.BACKING_FORMAT, format));
  }
}
