package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.HeaderExtension;
import org.jspecify.annotations.Nullable;

/** Changes of cluster 0 that need nothing else to be changed. No I/O. */
final class Amendments {
  private Amendments() {}

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
