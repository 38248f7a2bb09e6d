package dev.imago;

import dev.imago.RebaseException.Step;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import dev.imago.qcow2.Qcow2;
import dev.imago.raw.Raw;
import dev.imago.storage.NullStorage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Puts an image onto another backing file, or onto none, without changing what its guest sees: what
 * the new backing file has otherwise is copied into the image. Immutable: each method with an
 * argument returns a changed copy.
 *
 * <p>The image's header names the new file only when all that was copied is safe. Whatever happens,
 * a crash included, the guest sees the same bytes. Internal snapshots stand on the new backing file
 * too, and nothing is copied for them.
 */
public final class Rebase {
  private final @Nullable String backing;
  private final @Nullable String backingFormat;
  private OpenOptions options = OpenOptions.of(References.deny());
  private boolean unsafe;
  private boolean direct;
  private boolean shared;
  private boolean compressed;
  private int parallelism = Math.clamp(Runtime.getRuntime().availableProcessors(), 1, 4);
  private Progress progress = Progress.NONE;

  private Rebase(@Nullable String backing, @Nullable String backingFormat) {
    this.backing = backing;
    this.backingFormat = backingFormat;
  }

  private Rebase copy() {
    Rebase copy = new Rebase(backing, backingFormat);
    copy.options = options;
    copy.unsafe = unsafe;
    copy.direct = direct;
    copy.shared = shared;
    copy.compressed = compressed;
    copy.parallelism = parallelism;
    copy.progress = progress;
    return copy;
  }

  /**
   * Onto another backing file.
   *
   * @param backing its name as it will stand in the image; relative names are relative to the
   *     image's folder
   * @param format its format; empty to probe it, only to say that it must be given
   */
  public static Rebase onto(String backing, String format) {
    return new Rebase(Objects.requireNonNull(backing), Objects.requireNonNull(format));
  }

  /** Onto nothing: the image will hold all that its guest sees. */
  public static Rebase ontoNothing() {
    return new Rebase(null, null);
  }

  /**
   * How the image and its present backing files are opened; it is opened for writing in any case.
   * Its references hold for the new backing file too. None are allowed unless said.
   */
  public Rebase options(OpenOptions options) {
    Rebase copy = copy();
    copy.options = Objects.requireNonNull(options);
    return copy;
  }

  /**
   * Changes the header alone: for a backing file that has moved, or that is known to hold the same
   * bytes. Neither backing file is opened, and the guest sees whatever the new one holds.
   */
  public Rebase unsafe(boolean unsafe) {
    Rebase copy = copy();
    copy.unsafe = unsafe;
    return copy;
  }

  /** Whether the new backing file is read past the host's cache. */
  public Rebase direct(boolean direct) {
    Rebase copy = copy();
    copy.direct = direct;
    return copy;
  }

  /**
   * Whether the new backing file may be in use by somebody who writes to it. What that changes
   * while it is compared, the guest may see or not.
   */
  public Rebase forceShare(boolean shared) {
    Rebase copy = copy();
    copy.shared = shared;
    return copy;
  }

  /**
   * Whether what must be copied is compressed, in whole clusters. Not for images with a data file,
   * nor for encrypted ones.
   */
  public Rebase compressed(boolean compressed) {
    Rebase copy = copy();
    copy.compressed = compressed;
    return copy;
  }

  /** How many threads compare and copy, 1 to 64; 1 uses the caller's alone. */
  public Rebase parallelism(int parallelism) {
    if (parallelism < 1 || parallelism > 64) {
      throw new IllegalArgumentException("parallelism " + parallelism);
    }
    Rebase copy = copy();
    copy.parallelism = parallelism;
    return copy;
  }

  /** Told of the guest bytes that are done. */
  public Rebase progress(Progress progress) {
    Rebase copy = copy();
    copy.progress = Objects.requireNonNull(progress);
    return copy;
  }

  /**
   * Does it.
   *
   * @throws RebaseException if the image could be opened, but not be rebased
   */
  public void run(Path image) throws IOException {
    run(image, how -> Images.open(image, how));
  }

  /**
   * Does it for an image that is not simply a file.
   *
   * @param place where it is: relative names are relative to this path's folder
   * @param opener opens it
   * @throws RebaseException if the image could be opened, but not be rebased
   */
  public void run(Path place, ImageOpener opener) throws IOException {
    Image overlay = open(opener);
    try {
      rebase(place, overlay);
    } catch (IOException | RuntimeException e) {
      Closing.after(e, overlay);
      throw e;
    }
    try {
      overlay.close();
    } catch (IOException e) {
      throw new RebaseException(Step.CHANGING_HEADER, e);
    }
  }

  /** Opens the image so that zeroes are written as such, even if nothing stands behind it yet. */
  private Image open(ImageOpener image) throws IOException {
    OpenOptions how = options.writable(true);
    Image overlay = image.open(unsafe ? how.withoutBacking() : how);
    if (unsafe || overlay.backing().isPresent() || !overlay.format().equals(Formats.QCOW2)) {
      return overlay;
    }
    overlay.close();
    Image nothing = Raw.open(new NullStorage("nothing", 0), false, SyncMode.NONE);
    return image.open(how.backingInAnyCase(nothing));
  }

  private void rebase(Path image, Image overlay) throws IOException {
    if (!unsafe) {
      Image behind = backing == null ? null : openNew(image, backing);
      try (behind) {
        rebase(overlay, behind);
      }
    } else {
      changeHeader(overlay);
    }
  }

  /** Does it for images that are open. */
  void rebase(Image overlay, @Nullable Image behind) throws RebaseException {
    if (!overlay.format().equals(Formats.QCOW2)) {
      throw new RebaseException(
          Step.CHANGING_HEADER, new IllegalArgumentException("Operation not supported"));
    }
    if (backing != null && (backingFormat == null || backingFormat.isEmpty())) {
      throw new RebaseException(
          Step.CHANGING_HEADER, new IllegalArgumentException("backing format must be specified"));
    }
    copyDifferences(overlay, behind);
    changeHeader(overlay);
  }

  private void changeHeader(Image overlay) throws RebaseException {
    try {
      Qcow2.changeBacking(overlay, backing, backingFormat);
    } catch (IOException | IllegalArgumentException e) {
      throw new RebaseException(Step.CHANGING_HEADER, e);
    }
  }

  private Image openNew(Path image, String name) throws RebaseException {
    OpenOptions how =
        OpenOptions.of(options.references())
            .direct(direct)
            .forceShare(shared || options.forceShare())
            .nativeAccess(options.nativeAccess())
            .resolver(options.resolver());
    try {
      NullStorage place = new NullStorage(image.toString(), 0);
      String format = backingFormat == null || backingFormat.isEmpty() ? null : backingFormat;
      return Chain.top(how, place, image).openBacking(name, format);
    } catch (IOException e) {
      throw new RebaseException(Step.OPENING_BACKING, e);
    }
  }

  private void copyDifferences(Image overlay, @Nullable Image behind) throws RebaseException {
    Rebasing rebasing = new Rebasing(overlay, behind, compressed, progress);
    try {
      if (compressed) {
        requireCompression(overlay);
      }
      Workers.run("imago-rebase", parallelism, rebasing::work);
      overlay.flush();
    } catch (IOException e) {
      throw new RebaseException(Step.COPYING, e);
    }
  }

  /** Says in time that the image cannot hold compressed clusters: those of nothing tell. */
  private static void requireCompression(Image overlay) throws IOException {
    overlay.compress(ByteBuffer.allocate(0), 0).close();
  }
}
