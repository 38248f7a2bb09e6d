package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.BitmapDirectoryEntry;
import dev.imago.qcow2.ondisk.Bytes;
import dev.imago.qcow2.ondisk.Geometry;
import org.jspecify.annotations.Nullable;

/**
 * A dirty bitmap of an open image.
 *
 * @param entry as it stands in the directory on the disk; without a table if it is not there yet
 * @param usable whether its bits can be relied on, in memory if not on the disk
 * @param bits null if they are as on the disk
 */
record Bitmap(BitmapDirectoryEntry entry, boolean usable, @Nullable DirtyBits bits) {

  /** A bitmap found in an image's directory. */
  static Bitmap of(BitmapDirectoryEntry entry, long size, Geometry geometry) {
    boolean usable =
        entry.understood()
            && !entry.inUse()
            && entry.tableSize()
                >= geometry.clusters(DirtyBits.bytes(size, entry.granularityBits()));
    return new Bitmap(entry, usable, null);
  }

  /** A new bitmap, of which nothing is on the disk. */
  static Bitmap made(Bytes name, int granularityBits, boolean enabled, long size) {
    var entry =
        new BitmapDirectoryEntry(
            0,
            0,
            enabled ? BitmapDirectoryEntry.AUTO : 0,
            BitmapDirectoryEntry.DIRTY_TRACKING,
            granularityBits,
            Bytes.NONE,
            name);
    return new Bitmap(entry, true, new DirtyBits(size, granularityBits));
  }

  String name() {
    return entry.name();
  }

  /** Whether guest writes are noted in it. */
  boolean tracking() {
    return usable && entry.auto();
  }

  /** Whether its bits are in the image, though they may be older than those in memory. */
  boolean stored() {
    return entry.tableOffset() != 0;
  }

  Bitmap with(BitmapDirectoryEntry newEntry) {
    return new Bitmap(newEntry, usable, bits);
  }

  Bitmap with(DirtyBits newBits) {
    return new Bitmap(entry, usable, newBits);
  }

  /** With the disk's flag that nobody else may use it, set or not. */
  Bitmap inUse(boolean inUse) {
    long flag = BitmapDirectoryEntry.IN_USE;
    return with(entry.withFlags(inUse ? entry.flags() | flag : entry.flags() & ~flag));
  }

  Bitmap enabled(boolean enabled) {
    long flag = BitmapDirectoryEntry.AUTO;
    return with(entry.withFlags(enabled ? entry.flags() | flag : entry.flags() & ~flag));
  }

  /** The same entry, whose bits nobody can rely on any more. */
  Bitmap unusable() {
    return new Bitmap(entry, false, null);
  }
}
