package dev.imago;

import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.References;
import dev.imago.storage.FileStorage;
import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Opens files that an image names, as far as the caller's {@link References} allow. A file is
 * judged by its real path before it is opened, so that nothing is touched that may not be, and the
 * opened descriptor is asked for its path afterwards, so that exchanging a link in between gains
 * nothing.
 */
final class Gate {
  private static final List<Path> KERNEL = List.of(Path.of("/proc"), Path.of("/sys"));

  private final References references;
  private final String image;
  private final String field;

  /**
   * A gate for what one image names.
   *
   * @param field the name of the image's field, for messages
   */
  Gate(References references, String image, String field) {
    this.references = references;
    this.image = image;
    this.field = field;
  }

  /**
   * Opens a file.
   *
   * @param named the path that the image's words lead to
   * @param folder the folder of the image, or null if it has none
   * @throws ReferenceDeniedException if the references forbid it
   * @throws NoSuchFileException if it is not there; that is not said of a file outside of what the
   *     references allow
   */
  FileStorage open(Path named, @Nullable Path folder, FileStorage.Options options)
      throws IOException {
    if (references instanceof References.Deny) {
      throw denied("'%s' is not opened: no references are allowed".formatted(named));
    }
    Path real;
    try {
      real = named.toRealPath();
    } catch (FileSystemException e) {
      judgePlace(named, folder, named.toAbsolutePath().normalize());
      throw e;
    }
    judgePlace(named, folder, real);
    judgeKind(named, real);
    FileStorage storage = FileStorage.open(named, options);
    try {
      judgeOpened(named, real, storage.realPath());
      return storage;
    } catch (IOException | RuntimeException e) {
      storage.close();
      throw e;
    }
  }

  private void judgeOpened(Path named, Path real, @Nullable Path opened) throws IOException {
    if (real.equals(opened)) {
      return;
    }
    if (opened != null) {
      throw denied(
          "'%s' was exchanged while it was opened: %s was judged, %s was opened"
              .formatted(named, real, opened));
    }
    if (!(references instanceof References.Anywhere)) {
      throw new ReferenceDeniedException(
          image,
          -1,
          field,
          "'%s' cannot be judged: this system does not say which file was opened".formatted(named),
          "grant native access (--enable-native-access=dev.imago), or trust the image");
    }
  }

  private void judgePlace(Path named, @Nullable Path folder, Path real) throws IOException {
    for (Path kernel : KERNEL) {
      if (real.startsWith(kernel)) {
        throw denied("'%s' is %s: nothing below %s is opened".formatted(named, real, kernel));
      }
    }
    boolean allowed =
        switch (references) {
          case References.Deny _ -> false;
          case References.SameFolder _ ->
              folder != null && folder.toRealPath().equals(real.getParent());
          case References.Under(List<Path> folders) -> isUnder(folders, real);
          case References.Anywhere _ -> true;
        };
    if (!allowed) {
      throw denied("'%s' is %s, which is not %s".formatted(named, real, place(folder)));
    }
  }

  private String place(@Nullable Path folder) {
    return switch (references) {
      case References.SameFolder _ -> "in the folder " + folder;
      case References.Under(List<Path> folders) -> "below one of " + folders;
      case References.Deny _, References.Anywhere _ -> "allowed";
    };
  }

  private static boolean isUnder(List<Path> folders, Path real) throws IOException {
    for (Path folder : folders) {
      try {
        if (real.startsWith(folder.toRealPath()) && !real.equals(folder.toRealPath())) {
          return true;
        }
      } catch (NoSuchFileException e) {
        // Nothing can be below a folder that is not there.
      }
    }
    return false;
  }

  private void judgeKind(Path named, Path real) throws IOException {
    var attributes =
        Files.readAttributes(real, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
    if (!attributes.isRegularFile() && !isBlockDevice(attributes, real)) {
      throw denied(
          "'%s' is %s, which is neither a regular file nor an allowed block device"
              .formatted(named, real));
    }
  }

  /** Under a policy that names folders a device has no business there. */
  private boolean isBlockDevice(BasicFileAttributes attributes, Path real) throws IOException {
    return references instanceof References.Anywhere
        && attributes.isOther()
        && ((int) Files.getAttribute(real, "unix:mode", LinkOption.NOFOLLOW_LINKS) & 0170000)
            == 0060000;
  }

  private ReferenceDeniedException denied(String problem) {
    return new ReferenceDeniedException(image, -1, field, problem);
  }
}
