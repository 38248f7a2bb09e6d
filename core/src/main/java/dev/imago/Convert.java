package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.LuksOptions;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.BitmapInfo;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Copies what guests see in one or more images into another one, holes left out. Immutable: each
 * method with an argument returns a changed copy.
 */
public final class Convert {
  /** What a worker holds in memory, unless clusters or {@code sparseSize} are longer. */
  private static final int CHUNK = 1 << 20;

  private final List<Image> sources;
  private int sparseSize = 4096;
  private int parallelism;
  private boolean keepBacking;
  private boolean targetIsZero;
  private boolean direct;
  private boolean compressed;
  private int compressionLevel = -1;
  private boolean compatWindow;
  private boolean deterministic;
  private boolean offload;
  private long from;
  private long length = -1;
  private long bytesPerSecond;
  private Bitmaps bitmaps = Bitmaps.NONE;
  private SyncMode sync = SyncMode.FULL;
  private References references = References.deny();
  private Progress progress = Progress.NONE;
  private @Nullable Salvage salvage;

  /** What becomes of the dirty bitmaps that the source keeps. */
  public enum Bitmaps {
    /** The target gets none. */
    NONE,
    /** All are copied; one that is inconsistent ends the conversion before it begins. */
    ALL,
    /** Those that are inconsistent are left out. */
    CONSISTENT
  }

  private Convert(List<Image> sources) {
    this.sources = sources;
  }

  /** From these images, one behind the other. They stay the caller's. */
  public static Convert from(Image... sources) {
    return new Convert(List.of(sources));
  }

  private Convert copy() {
    Convert copy = new Convert(sources);
    copy.sparseSize = sparseSize;
    copy.parallelism = parallelism;
    copy.keepBacking = keepBacking;
    copy.targetIsZero = targetIsZero;
    copy.direct = direct;
    copy.compressed = compressed;
    copy.compressionLevel = compressionLevel;
    copy.compatWindow = compatWindow;
    copy.deterministic = deterministic;
    copy.offload = offload;
    copy.from = from;
    copy.length = length;
    copy.bytesPerSecond = bytesPerSecond;
    copy.bitmaps = bitmaps;
    copy.sync = sync;
    copy.references = references;
    copy.progress = progress;
    copy.salvage = salvage;
    return copy;
  }

  /**
   * Copies only a part of the source, of which there must be one, to the target's beginning.
   *
   * @param guestOffset in bytes, of any alignment
   * @param length in bytes; the target is longer if it is not a multiple of 512, and zero there
   */
  public Convert range(long guestOffset, long length) {
    if (sources.size() != 1) {
      throw new IllegalArgumentException("a part of %d sources".formatted(sources.size()));
    }
    Objects.checkFromIndexSize(guestOffset, length, sources.getFirst().size());
    Convert copy = copy();
    copy.from = guestOffset;
    copy.length = length;
    return copy;
  }

  /** Copies no more than this many bytes of data in a second; 0 for as many as possible. */
  public Convert rate(long bytesPerSecond) {
    if (bytesPerSecond < 0) {
      throw new IllegalArgumentException("rate " + bytesPerSecond);
    }
    Convert copy = copy();
    copy.bytesPerSecond = bytesPerSecond;
    return copy;
  }

  /**
   * The shortest run of zeroes in the sources' data that becomes a hole, in bytes: a multiple of
   * 512, at most 16 MiB. 0 looks for none and allocates the whole target.
   */
  public Convert sparseSize(int sparseSize) {
    if (sparseSize < 0 || sparseSize > 16 << 20 || sparseSize % 512 != 0) {
      throw new IllegalArgumentException("sparse size " + sparseSize);
    }
    Convert copy = copy();
    copy.sparseSize = sparseSize;
    return copy;
  }

  /**
   * How many threads copy, 1 to 64; 1 uses the caller's alone. As many as there are processors, but
   * 4 at most, or 16 if they compress, unless said. Each holds a chunk of 1 MiB in memory, and as
   * much again if it compresses.
   */
  public Convert parallelism(int parallelism) {
    if (parallelism < 1 || parallelism > 64) {
      throw new IllegalArgumentException("parallelism " + parallelism);
    }
    Convert copy = copy();
    copy.parallelism = parallelism;
    return copy;
  }

  /**
   * Copies only what the source's own top layer holds; what it leaves to its backing image is left
   * to the target's. Zeroes are then written where the top layer holds zeroes.
   */
  public Convert keepBacking(boolean keepBacking) {
    Convert copy = copy();
    copy.keepBacking = keepBacking;
    return copy;
  }

  /** Takes the caller's word that an existing target reads as zero everywhere. */
  public Convert targetIsZero(boolean targetIsZero) {
    Convert copy = copy();
    copy.targetIsZero = targetIsZero;
    return copy;
  }

  /** Whether a new target is written past the host's cache. */
  public Convert direct(boolean direct) {
    Convert copy = copy();
    copy.direct = direct;
    return copy;
  }

  /**
   * Whether the target's clusters are compressed: those that become shorter. With {@link
   * #to(Image)} whatever a target's cluster held is replaced; a target that cannot hold compressed
   * clusters is refused. A cluster that is zero as a whole is not written but left out.
   */
  public Convert compressed(boolean compressed) {
    Convert copy = copy();
    copy.compressed = compressed;
    return copy;
  }

  /** How a new target's clusters are compressed; as {@link OpenOptions#compressionLevel}. */
  public Convert compressionLevel(int level) {
    Convert copy = copy();
    copy.compressionLevel = level;
    return copy;
  }

  /** How a new target's clusters are compressed; as {@link OpenOptions#compatWindow}. */
  public Convert compatWindow(boolean compatWindow) {
    Convert copy = copy();
    copy.compatWindow = compatWindow;
    return copy;
  }

  /**
   * Whether a new target's bytes follow from the sources' and the options alone, not from what the
   * threads happened to do: the same conversion gives the same file again.
   */
  public Convert deterministic(boolean deterministic) {
    Convert copy = copy();
    copy.deterministic = deterministic;
    return copy;
  }

  /**
   * Whether the host copies data without its passing through this process, where it can ({@link
   * dev.imago.storage.Storage#copyFrom}): bytes that a raw or qcow2 source keeps as they are, by
   * whole clusters of a raw or qcow2 target. No zeroes are looked for in such data. All else is
   * copied as ever, and all data again once the storages turn out to be none that copy. Refused
   * together with {@link #compressed} and {@link #salvage}.
   */
  public Convert offload(boolean offload) {
    Convert copy = copy();
    copy.offload = offload;
    return copy;
  }

  /**
   * Which dirty bitmaps are copied, when all data is. There must be one source, as long as the
   * target, and both must be of a format that keeps bitmaps.
   */
  public Convert bitmaps(Bitmaps bitmaps) {
    Convert copy = copy();
    copy.bitmaps = Objects.requireNonNull(bitmaps);
    return copy;
  }

  /** How hard a new target is to be kept: with FULL it survives a power cut once this returns. */
  public Convert sync(SyncMode sync) {
    Convert copy = copy();
    copy.sync = Objects.requireNonNull(sync);
    return copy;
  }

  /**
   * Which files a new target may name inside itself and have opened. Needed for one that has a
   * backing file: parts of clusters are filled up from there.
   */
  public Convert references(References references) {
    Convert copy = copy();
    copy.references = Objects.requireNonNull(references);
    return copy;
  }

  /**
   * Reads around damage: what cannot be read becomes zeroes in the target, sector by sector, and is
   * noted in {@code salvage}. Sources that are marked as corrupt can be read as any other; where
   * files were cut off or are missing, {@link OpenOptions#rescue} tells what is lost.
   */
  public Convert salvage(Salvage salvage) {
    Convert copy = copy();
    copy.salvage = Objects.requireNonNull(salvage);
    return copy;
  }

  /** Told of the bytes of the sources that are done. */
  public Convert progress(Progress progress) {
    Convert copy = copy();
    copy.progress = Objects.requireNonNull(progress);
    return copy;
  }

  /**
   * Makes a new image and copies into it. If anything fails, a file made here is removed.
   *
   * @param options its size may be 0: the sources' is then taken
   * @throws ConvertException if a source could not be read or the target not written
   */
  public void to(Path target, CreateOptions options) throws IOException {
    long total = total();
    if (options.size() > 0 && options.size() < total) {
      throw new IllegalArgumentException(
          "%s would have %d bytes, the sources have %d".formatted(target, options.size(), total));
    }
    requireCompressible(options);
    requireOffloadable();
    refuseSourceAsTarget(target);
    if (options.dataFile() != null) {
      refuseSourceAsTarget(Names.literal(target, options.dataFile()));
    }
    List<BitmapInfo> wanted = bitmapsToCopy();
    OpenOptions how =
        OpenOptions.of(references)
            .direct(direct)
            .sync(sync)
            .compressionLevel(compressionLevel)
            .compatWindow(compatWindow)
            .withoutReuse(deterministic);
    CreateOptions whole = options.size() > 0 ? options : options.size(total);
    try (NewImage made = NewImage.create(target, whole, how, true)) {
      LuksOptions luks = options.luks();
      Image image = made.open(luks == null ? how : how.key(luks.secret()));
      try {
        copy(image, options.backingFile() == null, order(image, luks != null));
      } catch (IOException | RuntimeException e) {
        Closing.after(e, image);
        throw e;
      }
      made.finish(image, sync, () -> copyBitmaps(wanted, image));
    }
  }

  /**
   * Copies into an image that exists and is at least as long as the sources. What lies behind them
   * is left as it is. The target is flushed, and stays the caller's and open.
   *
   * @throws ConvertException if a source could not be read or the target not written
   */
  public void to(Image target) throws IOException {
    requireOffloadable();
    List<BitmapInfo> wanted = bitmapsToCopy();
    copy(target, targetIsZero, CopyOrder.FREE);
    target.flush();
    copyBitmaps(wanted, target);
  }

  private long total() {
    return length < 0 ? CopyPlan.total(sources) : length;
  }

  private List<BitmapInfo> bitmapsToCopy() throws IOException {
    if (bitmaps == Bitmaps.NONE) {
      return List.of();
    }
    if (sources.size() != 1) {
      throw new IllegalArgumentException("Copying bitmaps only possible with single source");
    }
    if (length >= 0) {
      throw new IllegalArgumentException("the bitmaps of a part of an image");
    }
    List<BitmapInfo> wanted = new ArrayList<>();
    for (BitmapInfo each : Qcow2.bitmaps(sources.getFirst()).list()) {
      if (!each.inconsistent()) {
        wanted.add(each);
      } else if (bitmaps == Bitmaps.ALL) {
        throw new IllegalArgumentException(
            "Cannot copy inconsistent bitmap '%s'".formatted(each.name()));
      }
    }
    return wanted;
  }

  private void copyBitmaps(List<BitmapInfo> wanted, Image target) throws IOException {
    for (BitmapInfo source : wanted) {
      String name = source.name();
      var from = Qcow2.bitmaps(sources.getFirst());
      var to = Qcow2.bitmaps(target);
      try {
        to.add(name, source.granularity(), false);
      } catch (IllegalArgumentException e) {
        throw failed("create", name, e);
      }
      try {
        to.merge(name, from, name);
      } catch (IllegalArgumentException e) {
        throw failed("populate", name, e);
      }
      if (source.enabled()) {
        to.enable(name);
      }
    }
  }

  private static IllegalArgumentException failed(
      String what, String bitmap, IllegalArgumentException e) {
    return new IllegalArgumentException(
        "Failed to %s bitmap %s: %s".formatted(what, bitmap, e.getMessage()), e);
  }

  private void requireCompressible(CreateOptions options) {
    if (!compressed) {
      return;
    }
    if (options.format().equals(Formats.RAW)) {
      throw new IllegalArgumentException("Compression not supported for this file format");
    }
    if (options.preallocation() != CreateOptions.Preallocation.OFF) {
      throw new IllegalArgumentException(
          "Compression and preallocation not supported at the same time");
    }
    if (options.dataFile() != null) {
      throw new IllegalArgumentException("Compression and a data file not supported together");
    }
  }

  private void requireOffloadable() {
    if (offload && (compressed || salvage != null)) {
      throw new IllegalArgumentException(
          "Copy offloading and %s not supported together"
              .formatted(compressed ? "compression" : "salvaging"));
    }
  }

  /** Whether nothing in an image's chain watches or changes bytes on their way. */
  private static boolean plain(Image image) {
    Image layer = image;
    while (Formats.names().contains(layer.format())) {
      if (layer.backing().isEmpty()) {
        return true;
      }
      layer = layer.backing().get();
    }
    return false;
  }

  /** Locks see to that, but sources may have been opened without. */
  private void refuseSourceAsTarget(Path target) throws IOException {
    for (Image source : sources) {
      Image layer = source;
      while (layer != null) {
        requireAnother(target, layer.name());
        Optional<String> dataFile = Qcow2.dataFile(layer);
        if (dataFile.isPresent()) {
          requireAnother(target, dataFile.get());
        }
        layer = layer.backing().orElse(null);
      }
    }
  }

  private static void requireAnother(Path target, String source) throws IOException {
    try {
      if (Files.exists(target) && Files.isSameFile(target, Path.of(source))) {
        throw new IllegalArgumentException(target + " is both source and target");
      }
    } catch (NoSuchFileException | InvalidPathException e) {
      // The source is not in a file.
    }
  }

  /**
   * How a new target is filled. Encryption is a part of a write, and takes longer than the rest.
   */
  private CopyOrder order(Image target, boolean encrypted) {
    if (deterministic && target.clusterSize() > 1) {
      return CopyOrder.PLACES;
    }
    return direct || compressed || encrypted ? CopyOrder.FREE : CopyOrder.WRITES;
  }

  private void copy(Image target, boolean zero, CopyOrder order) throws IOException {
    if (sources.contains(target)) {
      throw new IllegalArgumentException(target.name() + " is both source and target");
    }
    if (compressed) {
      if (total() % 512 != 0) {
        throw new IllegalArgumentException("%d bytes to compress".formatted(total()));
      }
      target.compress(ByteBuffer.allocate(0), 0).close();
    }
    int chunk = Math.max(CHUNK, Math.max(target.clusterSize(), Integer.highestOneBit(sparseSize)));
    boolean allocateAll = sparseSize == 0;
    var plan =
        new CopyPlan(
            sources,
            from,
            total(),
            keepBacking ? 1 : 0,
            zero && !allocateAll,
            allocateAll,
            offload && plain(target) && sources.stream().allMatch(Convert::plain),
            chunk,
            progress,
            salvage);
    if (plan.total() > target.size()) {
      throw new IllegalArgumentException(
          "%s has %d bytes, the sources have %d"
              .formatted(target.name(), target.size(), plan.total()));
    }
    var writer = new CopyWriter(target, zero, sparseSize, compressed, order, salvage);
    var pace = new Pace(bytesPerSecond);
    plan.finished(0);
    Workers.run("imago-convert", threads(), workers -> writer.work(workers, plan, pace, chunk));
  }

  private int threads() {
    int processors = Runtime.getRuntime().availableProcessors();
    return parallelism > 0 ? parallelism : Math.clamp(processors, 1, compressed ? 16 : 4);
  }
}
