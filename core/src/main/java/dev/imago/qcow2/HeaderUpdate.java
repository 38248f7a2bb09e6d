package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Header;
import dev.imago.qcow2.ondisk.HeaderCluster;
import dev.imago.qcow2.ondisk.HeaderExtension;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.function.UnaryOperator;

/**
 * Changes what cluster 0 says, so that a crash leaves either the old or the new.
 *
 * <p>If one sector changes, one write does it. Otherwise the backing file's name is first copied to
 * a free place in the cluster, and the first sector made to stand on its own: without the names of
 * feature bits, which nobody needs. Then what follows the first sector can be written at leisure,
 * and the new first sector makes it all true at once. Where there is no room for that, as in a
 * cluster of 1 KiB with a long name, everything is one write, as QEMU does it.
 */
final class HeaderUpdate {
  /** What reaches the disk whole or not at all, in bytes. */
  private static final int SECTOR = 512;

  private final Storage storage;
  private final HeaderCluster old;
  private final ByteBuffer wanted;
  private final boolean synced;

  private HeaderUpdate(Storage storage, HeaderCluster old, ByteBuffer wanted, boolean synced) {
    this.storage = storage;
    this.old = old;
    this.wanted = wanted;
    this.synced = synced;
  }

  /**
   * Reads cluster 0, has it changed, and writes it.
   *
   * @param storage an image in which nothing else is written meanwhile
   * @param synced whether to flush, between the steps and at the end
   * @return the header as it is now
   * @throws IllegalArgumentException if the new header does not fit; nothing was written then
   */
  static Header run(Storage storage, UnaryOperator<HeaderCluster> change, boolean synced)
      throws IOException {
    HeaderCluster old = HeaderReader.read(storage);
    ByteBuffer wanted = change.apply(old).write();
    new HeaderUpdate(storage, old, wanted, synced).write();
    return HeaderReader.read(storage).header();
  }

  private void write() throws IOException {
    int changed = changedSectors();
    if (changed == 0) {
      return;
    }
    ByteBuffer name = old.rawBackingName().view();
    long spare = spare();
    ByteBuffer alone = old.without(HeaderExtension.FEATURE_NAMES).writeApart(spare);
    boolean room =
        alone.limit() <= SECTOR && spare + name.remaining() <= 1L << old.header().clusterBits();
    if (changed > 1 && room) {
      if (name.hasRemaining()) {
        step(name, spare);
      }
      step(alone, 0);
      step(wanted.slice(SECTOR, wanted.limit() - SECTOR), SECTOR);
      step(wanted.slice(0, SECTOR), 0);
    } else {
      step(wanted, 0);
    }
  }

  private int changedSectors() throws IOException {
    ByteBuffer now = ByteBuffer.allocate(wanted.limit());
    storage.read(now, 0);
    int changed = 0;
    for (int at = 0; at < wanted.limit(); at += SECTOR) {
      int length = Math.min(SECTOR, wanted.limit() - at);
      if (!now.slice(at, length).equals(wanted.slice(at, length))) {
        changed++;
      }
    }
    return changed;
  }

  /** The first sector's end behind all that the old header and the new one use. */
  private long spare() {
    Header header = old.header();
    long end = (long) header.headerLength() + HeaderExtension.HEAD_BYTES;
    for (HeaderExtension extension : old.extensions()) {
      end += extension.length();
    }
    end = Math.max(end, header.backingFileOffset() + header.backingFileSize());
    end = Math.max(end, wanted.limit());
    return (end + SECTOR - 1) & -SECTOR;
  }

  private void step(ByteBuffer bytes, long hostOffset) throws IOException {
    storage.write(bytes, hostOffset);
    if (synced) {
      storage.flush();
    }
  }
}
