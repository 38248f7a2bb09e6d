package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.Image;
import dev.imago.image.ImageFormatException;
import dev.imago.image.Progress;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.SyncMode;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

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
   * Makes an image in {@code storage}, whatever that held before, and flushes it. Until the last
   * moment the storage does not look like an image; a failure leaves it that way.
   *
   * @param storage stays open; made longer where needed
   * @param dataFile where guest data is to be kept; required if and only if {@link
   *     CreateOptions#dataFile} is set. Stays open, is made as long as the disk; what it held
   *     before is zeroed if the guest could see it
   * @throws IllegalArgumentException if the options contradict each other or the format's limits
   */
  public static void create(Storage storage, CreateOptions options, @Nullable Storage dataFile)
      throws IOException {
    create(storage, options, dataFile, SyncMode.FULL);
  }

  /** As above; with {@link SyncMode#NONE} nothing is flushed. */
  public static void create(
      Storage storage, CreateOptions options, @Nullable Storage dataFile, SyncMode sync)
      throws IOException {
    Qcow2Creator.create(storage, options, dataFile, sync);
  }

  /**
   * Whether {@link #create} would accept these options, to be asked before an existing file is
   * emptied for them.
   *
   * @throws IllegalArgumentException if the options contradict each other or the format's limits
   */
  public static void validate(CreateOptions options) throws IOException {
    Qcow2Creator.check(options);
  }

  /**
   * Compares what the image counts with what it uses. Reads only; the image may be damaged in any
   * way, and should not be written to meanwhile.
   *
   * @throws ImageFormatException if the header is too bad for a check
   * @throws UnsupportedFeatureException if the image needs what is not known here
   */
  public static CheckResult check(Storage storage, Progress progress) throws IOException {
    return Qcow2Checker.check(storage, progress);
  }

  /**
   * What the image says about itself. Opens nothing that it names.
   *
   * @throws ImageFormatException if the header or a table of it breaks the specification
   * @throws UnsupportedFeatureException if the image needs what is not known here
   */
  public static Qcow2Info info(Storage storage) throws IOException {
    return Qcow2Info.read(storage);
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

  /**
   * What a new image is to look like.
   *
   * @param size bytes of the disk; rounded up to a multiple of 512
   * @param clusterSize a power of two, 512 bytes to 2 MiB
   * @param version 2 or 3
   * @param refcountBits a power of two, 1 to 64; 16 in version 2
   * @param lazyRefcounts whether counts may be written late; version 3 only
   * @param compressionType {@code zlib} or, in version 3, {@code zstd}
   * @param backingFile the name to write into the image, or null
   * @param backingFormat that file's format; required if and only if there is one
   * @param dataFile the name to write into the image if guest data is kept apart, or null
   * @param dataFileRaw whether the data file is to be a raw image of the disk at all times
   * @param preallocation not together with a backing file
   */
  public record CreateOptions(
      long size,
      int clusterSize,
      int version,
      int refcountBits,
      boolean lazyRefcounts,
      String compressionType,
      @Nullable String backingFile,
      @Nullable String backingFormat,
      @Nullable String dataFile,
      boolean dataFileRaw,
      Preallocation preallocation) {

    /** Rejects null where a value is needed. */
    public CreateOptions {
      Objects.requireNonNull(compressionType);
      Objects.requireNonNull(preallocation);
    }

    /** What {@code qemu-img create} makes without options: version 3, clusters of 64 KiB. */
    public static CreateOptions ofSize(long size) {
      return new CreateOptions(
          size, 64 << 10, 3, 16, false, "zlib", null, null, null, false, Preallocation.OFF);
    }

    /** A copy with another cluster size. */
    public CreateOptions withClusterSize(int value) {
      return new CreateOptions(
          size,
          value,
          version,
          refcountBits,
          lazyRefcounts,
          compressionType,
          backingFile,
          backingFormat,
          dataFile,
          dataFileRaw,
          preallocation);
    }

    /** A copy with another version and width of reference counts. */
    public CreateOptions withVersion(int newVersion, int newRefcountBits) {
      return new CreateOptions(
          size,
          clusterSize,
          newVersion,
          newRefcountBits,
          lazyRefcounts,
          compressionType,
          backingFile,
          backingFormat,
          dataFile,
          dataFileRaw,
          preallocation);
    }

    /** A copy that allows lazy reference counts or not. */
    public CreateOptions withLazyRefcounts(boolean value) {
      return new CreateOptions(
          size,
          clusterSize,
          version,
          refcountBits,
          value,
          compressionType,
          backingFile,
          backingFormat,
          dataFile,
          dataFileRaw,
          preallocation);
    }

    /** A copy with another compression type. */
    public CreateOptions withCompressionType(String value) {
      return new CreateOptions(
          size,
          clusterSize,
          version,
          refcountBits,
          lazyRefcounts,
          value,
          backingFile,
          backingFormat,
          dataFile,
          dataFileRaw,
          preallocation);
    }

    /** A copy with another backing file. */
    public CreateOptions withBacking(@Nullable String name, @Nullable String format) {
      return new CreateOptions(
          size,
          clusterSize,
          version,
          refcountBits,
          lazyRefcounts,
          compressionType,
          name,
          format,
          dataFile,
          dataFileRaw,
          preallocation);
    }

    /** A copy with another data file. */
    public CreateOptions withDataFile(@Nullable String name, boolean raw) {
      return new CreateOptions(
          size,
          clusterSize,
          version,
          refcountBits,
          lazyRefcounts,
          compressionType,
          backingFile,
          backingFormat,
          name,
          raw,
          preallocation);
    }

    /** A copy with another preallocation. */
    public CreateOptions withPreallocation(Preallocation value) {
      return new CreateOptions(
          size,
          clusterSize,
          version,
          refcountBits,
          lazyRefcounts,
          compressionType,
          backingFile,
          backingFormat,
          dataFile,
          dataFileRaw,
          value);
    }
  }
}
