package dev.imago.cli;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.filter.CopyOnReadImage;
import dev.imago.filter.FaultStorage;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * An image and how {@code io} has it open.
 *
 * @param source the image, or null if none was named
 * @param readOnly whether nothing may be written
 * @param snapshot whether what is written goes to a file that is gone afterwards
 * @param cache how much the host's cache is trusted
 * @param writeThrough whether every write is flushed
 * @param discards whether a request to discard does anything
 * @param forceShare whether no locks are taken
 * @param copyOnRead whether reads copy what the backing image has
 * @param lazyRefcounts whether counts may be written late; null if the source or the image says so
 */
record IoTarget(
    @Nullable Source source,
    boolean readOnly,
    boolean snapshot,
    CacheMode cache,
    boolean writeThrough,
    boolean discards,
    boolean forceShare,
    boolean copyOnRead,
    @Nullable Boolean lazyRefcounts) {

  /** Another mode. */
  IoTarget withReadOnly(boolean newReadOnly) {
    return new IoTarget(
        source,
        newReadOnly,
        snapshot,
        cache,
        writeThrough,
        discards,
        forceShare,
        copyOnRead,
        lazyRefcounts);
  }

  /** Another use of the host's cache. */
  IoTarget withCache(String mode) throws Failure {
    return new IoTarget(
        source,
        readOnly,
        snapshot,
        CacheMode.target(mode),
        writesThrough(mode),
        discards,
        forceShare,
        copyOnRead,
        lazyRefcounts);
  }

  /** Reference counts that may be written late, or not. */
  IoTarget withLazyRefcounts(boolean lazy) {
    return new IoTarget(
        source, readOnly, snapshot, cache, writeThrough, discards, forceShare, copyOnRead, lazy);
  }

  /** Whether a cache mode flushes every write. */
  static boolean writesThrough(String mode) {
    return mode.equals("writethrough") || mode.equals("directsync");
  }

  /**
   * An open image.
   *
   * @param faulty the storages below it that can hold requests up
   */
  record Opened(Image image, List<FaultStorage> faulty) {}

  /** Opens it. */
  Opened open(Terminal terminal) throws Failure {
    if (source == null) {
      throw new Failure("can't open: Must specify either driver or file");
    }
    FileName name = source.name();
    try {
      if (forceShare && !readOnly) {
        throw new Failure("force-share=on can only be used with read-only images");
      }
      String format = source.format();
      if (format != null && !Images.formats().contains(format)) {
        throw new Failure("Unknown driver '" + format + "'");
      }
      Safety.vet(name, format, 1);
      OpenOptions how =
          source
              .options(terminal.secrets())
              .writable(!readOnly && !snapshot)
              .direct(cache.direct())
              .sync(cache.sync())
              .forceShare(forceShare);
      if (lazyRefcounts != null) {
        how = how.lazyRefcounts(lazyRefcounts);
      }
      BlockNodes nodes = new BlockNodes(how, said -> terminal.print(said + "\n"));
      Image image;
      if (name.nodes() != null) {
        image = nodes.image(name.nodes().copy());
      } else {
        image = Images.open(name.path(), how);
        if (!readOnly && format == null && image.format().equals("raw")) {
          Opening.warnOfProbing(terminal, name);
        }
      }
      if (snapshot && !readOnly) {
        image = overlay(image);
      }
      return new Opened(
          copyOnRead && !image.readOnly() ? new CopyOnReadImage(image) : image, nodes.faulty());
    } catch (IOException e) {
      throw refused(name, whyNotOpen(name, e), e);
    } catch (Failure e) {
      throw refused(name, e.getMessage(), e);
    }
  }

  private static String whyNotOpen(FileName name, IOException thrown) {
    return Errors.whyNotOpen(name, thrown);
  }

  private static Failure refused(FileName name, String why, Exception cause) {
    // A list of options is no name.
    boolean listed =
        !name.typed().equals(name.literal())
            && !FileName.protocol(name.typed()).matches("file|json|blkdebug")
            && !Exports.isOne(name.typed());
    String what = listed ? "can't open: " : "can't open device " + name.typed() + ": ";
    return new Failure(what + why, 1, cause);
  }

  /** An image over this one that takes what is written, and has no name any more. */
  private static Image overlay(Image base) throws IOException {
    Path file = null;
    try {
      file = Files.createTempFile("imago-io-", ".qcow2");
      long size = (base.size() + 511) & -512L;
      Images.create(file, CreateOptions.of("qcow2", size).backing(base.name(), base.format()));
      return Images.open(
          file,
          OpenOptions.of(References.deny())
              .format("qcow2")
              .writable(true)
              .sync(SyncMode.NONE)
              .backing(base));
    } catch (IOException | RuntimeException e) {
      base.close();
      throw e;
    } finally {
      if (file != null) {
        Files.delete(file);
      }
    }
  }
}
