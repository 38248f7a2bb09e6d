package dev.imago;

import dev.imago.image.CheckResult;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.image.References;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Opens, creates and looks at images of every known format. */
public final class Images {
  private Images() {}

  /** Names of the formats that can be opened and created. */
  public static List<String> formats() {
    return List.of("raw", "qcow2");
  }

  /**
   * Opens an image file, or a block device that holds an image.
   *
   * @throws java.nio.file.NoSuchFileException if the file is not there
   * @throws dev.imago.storage.StorageLockedException if somebody else uses it
   * @throws UnknownFormatException if the options ask for a format that is not known
   * @throws dev.imago.image.ImageFormatException if the file is not in the format asked for
   * @throws dev.imago.image.ReferenceDeniedException if it names what the options do not allow
   */
  public static Image open(Path path, OpenOptions options) throws IOException {
    throw new UnsupportedOperationException();
  }

  /** Opens an image file for reading; its format is probed. */
  public static Image openReadOnly(Path path, References references) throws IOException {
    return open(path, OpenOptions.of(references));
  }

  /**
   * Opens an image that is kept in a storage. It belongs to the image from then on; if this fails,
   * it stays the caller's and open.
   *
   * <p>The image has no folder: relative names inside it are refused.
   */
  public static Image open(Storage storage, OpenOptions options) throws IOException {
    throw new UnsupportedOperationException();
  }

  /** The name of the format that the first 512 bytes fit best; {@code raw} if none does. */
  public static String probe(Storage storage) throws IOException {
    throw new UnsupportedOperationException();
  }

  /** Looks at a file and opens nothing that it names. The format is probed. */
  public static Inspection inspect(Path path) throws IOException {
    return inspect(path, null, false);
  }

  /**
   * Looks at a file and opens nothing that it names.
   *
   * @param format the format's name, or null to probe
   * @param forceShare whether to look without a lock, while someone may be writing
   */
  public static Inspection inspect(Path path, @Nullable String format, boolean forceShare)
      throws IOException {
    throw new UnsupportedOperationException();
  }

  /**
   * Looks at a file, its backing file, and so on down.
   *
   * @throws dev.imago.image.ReferenceDeniedException for a chain that is a loop, too deep, or
   *     leaves what {@code references} allow
   */
  public static List<Inspection> backingChain(
      Path path, @Nullable String format, boolean forceShare, References references)
      throws IOException {
    throw new UnsupportedOperationException();
  }

  /**
   * Makes an image, in place of whatever {@code path} held. If that fails, a file that was not
   * there before is removed again.
   *
   * @throws IllegalArgumentException if the options contradict each other or the format
   */
  public static void create(Path path, CreateOptions options) throws IOException {
    throw new UnsupportedOperationException();
  }

  /**
   * The file that a backing file's name, as it stands in {@code image}, speaks of; relative names
   * are relative to the image's folder. Looks at nothing.
   */
  public static Path resolveName(Path image, String name) {
    throw new UnsupportedOperationException();
  }

  /**
   * Checks an image's own structures. Changes nothing.
   *
   * @param format the format's name, or null to probe
   * @throws CheckUnsupportedException if the format has nothing to check: raw
   */
  public static CheckResult check(
      Path path, @Nullable String format, boolean forceShare, Progress progress)
      throws IOException {
    throw new UnsupportedOperationException();
  }
}
