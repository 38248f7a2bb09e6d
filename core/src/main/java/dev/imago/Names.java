package dev.imago;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** How names inside images speak of files. */
final class Names {
  private static final String FILE = "file:";

  private Names() {}

  /**
   * The protocol that a backing file's name starts with: what stands before a colon that comes
   * before the first slash, as QEMU has it. {@code file:} is none, it only says that a path
   * follows.
   */
  static Optional<String> protocol(String name) {
    int colon = name.indexOf(':');
    int slash = name.indexOf('/');
    boolean protocol = colon >= 0 && (slash < 0 || colon < slash) && !name.startsWith(FILE);
    return protocol ? Optional.of(name.substring(0, colon)) : Optional.empty();
  }

  /**
   * The path of a backing file.
   *
   * @param image the path of the image that names it
   * @throws InvalidPathException if no file can have such a name
   */
  static Path backing(Path image, String name) {
    return literal(image, name.startsWith(FILE) ? name.substring(FILE.length()) : name);
  }

  /** As {@link #backing}, but the name is nothing but a path, whatever it looks like. */
  static Path literal(Path image, String name) {
    @Nullable Path folder = image.getParent();
    return folder == null ? Path.of(name) : folder.resolve(name);
  }
}
