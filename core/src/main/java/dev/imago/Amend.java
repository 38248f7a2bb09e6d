package dev.imago;

import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.qcow2.Qcow2;
import dev.imago.qcow2.Qcow2AmendOptions;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Objects;

/**
 * Changes what an image was made with: its version, the width of its reference counts, its size,
 * and what else its header says. What the guest sees stays as it is, but for a new size. Immutable:
 * each method with an argument returns a changed copy.
 *
 * <p>Everything is judged before anything is changed. A crash at any instant leaves a good image:
 * with some of the changes made, each of them wholly or not at all. Passphrases: see {@link Keys};
 * another backing file: see {@link Rebase}.
 */
public final class Amend {
  private final Qcow2AmendOptions options;
  private final Progress progress;

  private Amend(Qcow2AmendOptions options, Progress progress) {
    this.options = options;
    this.progress = progress;
  }

  /** Leaves everything as it is. */
  public static Amend nothing() {
    return new Amend(Qcow2AmendOptions.NOTHING, Progress.NONE);
  }

  private Amend with(Qcow2AmendOptions changed) {
    return new Amend(changed, progress);
  }

  /**
   * Of version 2 or 3. Version 2 has no zero clusters: they become clusters full of zeroes where a
   * backing file stands behind the image. It has 16-bit reference counts, and no data file, bitmap,
   * extended L2 entry or zstd cluster.
   */
  public Amend version(int version) {
    if (version != 2 && version != 3) {
      throw new IllegalArgumentException("version " + version);
    }
    return with(options.withVersion(version));
  }

  /**
   * Reference counts of this many bits: a power of two from 1 to 64. They are written anew behind
   * the end of the file.
   */
  public Amend refcountBits(int bits) {
    if (bits < 1 || bits > 64 || Integer.bitCount(bits) != 1) {
      throw new IllegalArgumentException("reference counts of " + bits + " bits");
    }
    return with(options.withRefcountBits(bits));
  }

  /** Whether reference counts may reach the disk late, from when the image is opened next. */
  public Amend lazyRefcounts(boolean lazy) {
    return with(options.withLazyRefcounts(lazy));
  }

  /** A disk of this many bytes, a multiple of 512. What lies behind its end is lost. */
  public Amend size(long size) {
    if (size < 0) {
      throw new IllegalArgumentException("a disk of " + size + " bytes");
    }
    return with(options.withSize(size));
  }

  /**
   * Another name for the data file, as it will stand in the image, for a file that was moved. The
   * file is not looked at.
   *
   * @param name relative names are relative to the image's folder; empty for none, so that whoever
   *     opens the image must say it
   */
  public Amend dataFile(String name) {
    return with(options.withDataFile(Objects.requireNonNull(name)));
  }

  /** Whether the data file must stay a raw image of the disk. This can be taken back only. */
  public Amend dataFileRaw(boolean raw) {
    return with(options.withDataFileRaw(raw));
  }

  /** Told how far it is: from 0 on for each of the steps that take long. */
  public Amend progress(Progress told) {
    return new Amend(options, Objects.requireNonNull(told));
  }

  /**
   * Judges whether it could be done; changes nothing.
   *
   * @param image open for writing, and used by nobody else
   * @throws IllegalArgumentException with the reason, if it could not
   */
  public void check(Image image) throws IOException {
    requireFormat(image);
    Qcow2.checkAmend(image, options);
  }

  /**
   * Does it. The image can only be closed afterwards.
   *
   * @param image open for writing; encrypted ones with their key
   * @throws IllegalArgumentException with the reason, if it cannot be done; nothing was changed
   *     then
   */
  public void run(Image image) throws IOException {
    requireFormat(image);
    Qcow2.amend(image, options, progress);
  }

  /**
   * Opens an image for writing, does it, and closes the image.
   *
   * @throws IllegalArgumentException with the reason, if it cannot be done; nothing was changed
   *     then
   */
  public void run(Path path, OpenOptions how) throws IOException {
    try (Image image = Images.open(path, how.writable(true))) {
      run(image);
    }
  }

  private static void requireFormat(Image image) {
    if (!image.format().equals(Formats.QCOW2)) {
      throw new IllegalArgumentException(
          "Format driver '%s' does not support option amendment".formatted(image.format()));
    }
  }
}
