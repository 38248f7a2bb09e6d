package dev.imago.qcow2;

import dev.imago.image.Image;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/** The door of the qcow2 room. */
public final class Qcow2 {
  private Qcow2() {}

  /** Whether these first bytes of a file say that it is a qcow2 image that we know. */
  public static boolean probe(ByteBuffer first512) {
    return Header.probe(first512);
  }

  /**
   * Opens an image.
   *
   * <p>An image whose dirty bit is set is opened for reading as it is; for writing, its refcounts
   * are rebuilt first. One whose corrupt bit is set is opened for reading only.
   *
   * @param storage belongs to the image from now on, which closes it; it is closed too if opening
   *     fails
   * @param references opens the backing image and the data file that the image names
   */
  public static Image open(Storage storage, Options options, ReferenceOpener references)
      throws IOException {
    return open(storage, options, references, Events.NONE);
  }

  /** As above, with a hook for fault injection. */
  static Qcow2Image open(
      Storage storage, Options options, ReferenceOpener references, Events events)
      throws IOException {
    return OpenParts.open(storage, options, references, events);
  }

  /**
   * How an image is opened.
   *
   * @param writable for reading only, nothing is ever written to the file
   * @param sync how hard to try to keep what was flushed
   * @param l2CacheBytes most bytes of L2 tables kept in memory; at least one slice of 4 KiB is
   * @param refcountCacheBytes most bytes of refcount blocks kept in memory
   * @param quarantineBytes when so much freed space waits for a flush, one is made
   * @param backing false opens without the backing image: what it would provide reads as zero
   * @param dataFile false opens without the data file: guest data cannot be read then
   */
  public record Options(
      boolean writable,
      SyncMode sync,
      long l2CacheBytes,
      long refcountCacheBytes,
      long quarantineBytes,
      boolean backing,
      boolean dataFile) {

    /** Read-only; 32 MiB of L2 tables and 8 MiB of refcount blocks at the most. */
    public static Options defaults() {
      return new Options(false, SyncMode.FULL, 32L << 20, 8L << 20, 1L << 30, true, true);
    }

    /** The same, writable or not. */
    public Options withWritable(boolean writable) {
      return new Options(
          writable, sync, l2CacheBytes, refcountCacheBytes, quarantineBytes, backing, dataFile);
    }

    /** The same with another sync mode. */
    public Options withSync(SyncMode sync) {
      return new Options(
          writable, sync, l2CacheBytes, refcountCacheBytes, quarantineBytes, backing, dataFile);
    }

    /** The same with other cache limits, in bytes. */
    public Options withCaches(long l2CacheBytes, long refcountCacheBytes) {
      return new Options(
          writable, sync, l2CacheBytes, refcountCacheBytes, quarantineBytes, backing, dataFile);
    }

    /** The same with another limit for freed space that waits for a flush. */
    public Options withQuarantine(long quarantineBytes) {
      return new Options(
          writable, sync, l2CacheBytes, refcountCacheBytes, quarantineBytes, backing, dataFile);
    }

    /** The same, with or without backing image and data file. */
    public Options withReferences(boolean backing, boolean dataFile) {
      return new Options(
          writable, sync, l2CacheBytes, refcountCacheBytes, quarantineBytes, backing, dataFile);
    }
  }
}
