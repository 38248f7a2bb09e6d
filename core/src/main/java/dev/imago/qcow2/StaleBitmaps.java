package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.BitmapsExtension;
import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Set;

/**
 * Says of an image's dirty bitmaps, before a repair changes what maps the disk, that they are
 * inconsistent: damage has changed guest bytes that they call unchanged, and nobody knows which.
 *
 * <p>Spec: qcow2 digest, section 8.
 */
final class StaleBitmaps {
  private static final int AT_FLAGS = 12;

  private final Storage storage;
  private final Findings findings;
  private boolean done;

  /**
   * Nothing is done yet.
   *
   * @param findings gets a line for each bitmap
   */
  StaleBitmaps(Storage storage, Findings findings) {
    this.storage = storage;
    this.findings = findings;
  }

  /**
   * Sets the in-use flag of all bitmaps, the first time that it is called, or gives them up. That
   * is on the disk when this returns.
   *
   * @param shared see {@link #giveUp}
   */
  void distrust(Set<Long> shared) throws IOException {
    if (done || giveUp(shared)) {
      return;
    }
    done = true;
    HeaderCluster cluster = HeaderReader.readForCheck(storage);
    BitmapsExtension extension = cluster.bitmaps().orElse(null);
    if (extension == null) {
      return;
    }
    long at = extension.directoryOffset();
    for (BitmapDirectoryEntry entry : Qcow2Info.readBitmapDirectory(storage, cluster, extension)) {
      if ((entry.flags() & BitmapDirectoryEntry.IN_USE) == 0) {
        int flags = (int) (entry.flags() | BitmapDirectoryEntry.IN_USE);
        storage.write(ByteBuffer.allocate(Integer.BYTES).putInt(flags).flip(), at + AT_FLAGS);
        findings.note("Repairing bitmap '%s': marked as inconsistent", entry.name());
      }
      at += entry.length();
    }
    storage.flush();
  }

  /**
   * Gives all bitmaps up if their directory lies in a cluster that something else uses as well:
   * then it may not be a directory at all.
   *
   * @param shared numbers of clusters that hold a structure, and to which something else refers too
   * @return whether that was so
   */
  boolean giveUp(Set<Long> shared) throws IOException {
    HeaderCluster cluster = HeaderReader.readForCheck(storage);
    BitmapsExtension extension = cluster.bitmaps().orElse(null);
    if (extension == null) {
      return false;
    }
    Header header = cluster.header();
    Geometry g = header.geometry();
    long number = g.clusterIndex(extension.directoryOffset());
    long end = number + g.clusters(extension.directorySize());
    while (number < end && !shared.contains(number)) {
      number++;
    }
    if (number == end) {
      return false;
    }
    long autoclear = header.autoclear() & ~Header.AUTOCLEAR_BITMAPS;
    storage.write(ByteBuffer.allocate(Long.BYTES).putLong(autoclear).flip(), Header.AT_AUTOCLEAR);
    storage.flush();
    findings.note(
        "Repairing cluster %d: the bitmap directory shares it with something else; all bitmaps are"
            + " given up",
        number);
    return true;
  }
}
