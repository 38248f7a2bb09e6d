package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Brings what an image holds into the image that it stands on, and empties it. Immutable: each
 * method with an argument returns a changed copy.
 *
 * <p>What the image's guest sees never changes, a crash included: the image is emptied only when
 * all of it is safe below. A backing image that is shorter is made as long as the image first; one
 * that is longer stays so. Whatever else stands on the backing image is spoiled.
 */
public final class Commit {
  private static final int CHUNK = 1 << 20;

  /** How much is emptied in one go, in bytes. */
  private static final long EMPTIED = 16L << 30;

  private final Path image;
  private final ImageOpener opener;
  private OpenOptions options = OpenOptions.of(References.deny());
  private @Nullable String base;
  private boolean keep;
  private long bytesPerSecond;
  private int parallelism = Math.clamp(Runtime.getRuntime().availableProcessors(), 1, 4);
  private Progress progress = Progress.NONE;

  private Commit(Path image, ImageOpener opener) {
    this.image = image;
    this.opener = opener;
  }

  private Commit copy() {
    Commit copy = new Commit(image, opener);
    copy.options = options;
    copy.base = base;
    copy.keep = keep;
    copy.bytesPerSecond = bytesPerSecond;
    copy.parallelism = parallelism;
    copy.progress = progress;
    return copy;
  }

  /** Brings this image into the one that it names as its backing file. */
  public static Commit of(Path image) {
    return new Commit(image, how -> Images.open(image, how));
  }

  /**
   * Brings an image that is not simply a file into the one that it names as its backing file.
   *
   * @param place where it is, as messages name it
   * @param opener opens it
   */
  public static Commit of(Path place, ImageOpener opener) {
    return new Commit(place, opener);
  }

  /**
   * How the image and its backing files are opened; it and the one that is written to are opened
   * for writing in any case. No references are allowed unless said.
   */
  public Commit options(OpenOptions options) {
    Commit copy = copy();
    copy.options = Objects.requireNonNull(options);
    return copy;
  }

  /**
   * Brings the image, and all between, into an image farther down the chain. The image is then not
   * emptied, unless that is the one it names itself.
   *
   * @param base a name as one of the images of the chain could have it for its backing file: if
   *     relative, then to that image's folder
   */
  public Commit into(String base) {
    Commit copy = copy();
    copy.base = Objects.requireNonNull(base);
    return copy;
  }

  /** Leaves the image as it is, for a caller who is going to delete it. */
  public Commit keep(boolean keep) {
    Commit copy = copy();
    copy.keep = keep;
    return copy;
  }

  /** Copies no more than this many bytes of data in a second; 0 for as many as possible. */
  public Commit rate(long bytesPerSecond) {
    if (bytesPerSecond < 0) {
      throw new IllegalArgumentException("rate " + bytesPerSecond);
    }
    Commit copy = copy();
    copy.bytesPerSecond = bytesPerSecond;
    return copy;
  }

  /** How many threads copy, 1 to 64; 1 uses the caller's alone. */
  public Commit parallelism(int parallelism) {
    if (parallelism < 1 || parallelism > 64) {
      throw new IllegalArgumentException("parallelism " + parallelism);
    }
    Commit copy = copy();
    copy.parallelism = parallelism;
    return copy;
  }

  /** Told of the guest bytes that are done. */
  public Commit progress(Progress progress) {
    Commit copy = copy();
    copy.progress = Objects.requireNonNull(progress);
    return copy;
  }

  /**
   * Does it.
   *
   * @throws CommitException if the image has no such backing image
   * @throws ConvertException if bytes could not be read or written
   */
  public void run() throws IOException {
    OpenOptions how = options.writable(true);
    int layers = base == null ? 1 : layersAbove(base);
    try (Image top = opener.open(how.writableDepth(layers + 1))) {
      commit(top, layers);
    }
  }

  /** Does it for a chain that is open, the image below {@code layers} layers for writing. */
  void commit(Image top, int layers) throws IOException {
    Image target = top;
    for (int i = 0; i < layers; i++) {
      target = target.backing().orElseThrow(Commit::withoutBacking);
    }
    copyInto(target, top, layers);
    if (!keep && layers == 1) {
      empty(top);
    }
  }

  private static CommitException withoutBacking() {
    return new CommitException("Image does not have a backing file");
  }

  /** How many layers of the chain stand above the image of that name. */
  private int layersAbove(String name) throws IOException {
    try (Image top = opener.open(options)) {
      Image layer = top;
      for (int above = 1; ; above++) {
        Optional<Image> below = layer.backing();
        if (below.isEmpty()) {
          throw new CommitException(
              "Did not find '%s' in the backing chain of '%s'".formatted(name, image));
        }
        if (!name.isEmpty() && names(layer, name, below.get())) {
          return above;
        }
        layer = below.get();
      }
    }
  }

  private static boolean names(Image layer, String name, Image below) throws IOException {
    try {
      Path named = Names.backing(Path.of(layer.name()), name);
      return Files.exists(named) && Files.isSameFile(named, Path.of(below.name()));
    } catch (InvalidPathException e) {
      return false;
    }
  }

  private void copyInto(Image target, Image top, int layers) throws IOException {
    if (target.size() < top.size()) {
      target.resize(top.size(), Preallocation.OFF, false);
    }
    int chunk = Math.max(CHUNK, target.clusterSize());
    var plan =
        new CopyPlan(
            List.of(top), 0, top.size(), layers, false, false, false, chunk, progress, null);
    var writer = new CopyWriter(target, false, 0, false, CopyOrder.FREE, null);
    var pace = new Pace(bytesPerSecond);
    plan.finished(0);
    Workers.run("imago-commit", parallelism, workers -> writer.work(workers, plan, pace, chunk));
    target.flush();
  }

  /** Everything shows through from below again, cluster by cluster. */
  private static void empty(Image top) throws IOException {
    long size = top.size();
    for (long at = 0; at < size; at += EMPTIED) {
      top.discard(at, Math.min(EMPTIED, size - at), Discard.TO_BACKING);
      top.flush();
    }
  }
}
