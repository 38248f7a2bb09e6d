package dev.imago.image;

import java.nio.file.Path;
import java.util.List;

/**
 * Which files an image may name inside itself (backing images, data files) and have opened. There
 * is no default: whoever opens an image says it.
 *
 * <p>Names are judged on the real path, after symbolic links. FIFOs, sockets, character devices and
 * {@code /proc} are never opened; a block device only under {@link Anywhere}.
 */
public sealed interface References {

  /** The longest backing chain that is followed, the first image counted. */
  int MAX_DEPTH = 200;

  /** Opens nothing. */
  record Deny() implements References {}

  /** Opens files in the folder of the image that names them. */
  record SameFolder() implements References {}

  /** Opens files somewhere below these folders. */
  record Under(List<Path> folders) implements References {}

  /** Opens every regular file and block device, as qemu-img does. For trusted images only. */
  record Anywhere() implements References {}

  /** Opens nothing. */
  static References deny() {
    return new Deny();
  }

  /** Opens files in the folder of the image that names them. */
  static References sameFolder() {
    return new SameFolder();
  }

  /** Opens files somewhere below these folders. */
  static References under(Path... folders) {
    return new Under(List.of(folders));
  }

  /** Opens every regular file and block device. For trusted images only. */
  static References anywhere() {
    return new Anywhere();
  }
}
