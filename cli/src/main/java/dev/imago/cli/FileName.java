package dev.imago.cli;

import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * A file's name as it was typed or as it stands in an image. {@code file:} before it is taken off;
 * any other word and colon before the first slash is a protocol, and none is known here.
 *
 * @param typed the whole name
 * @param literal the name without {@code file:}
 * @param nodes block drivers, if that is what was typed, or null
 */
record FileName(String typed, String literal, @Nullable BlockOptions nodes) {

  /** The name of a file. */
  FileName(String typed, String literal) {
    this(typed, literal, null);
  }

  /** Takes a name apart. */
  static FileName of(String typed) {
    return new FileName(typed, typed.startsWith("file:") ? typed.substring(5) : typed);
  }

  /** The protocol's name if there is one, else empty. */
  static String protocol(String name) {
    for (int i = 0; i < name.length(); i++) {
      char c = name.charAt(i);
      if (c == ':') {
        return name.substring(0, i);
      }
      if (c == '/') {
        break;
      }
    }
    return "";
  }

  /** The same without the filters above the format, for what changes a format alone. */
  FileName withoutFilters() {
    return nodes == null ? this : new FileName(typed, literal, BlockNodes.unfiltered(nodes));
  }

  /** Refuses names of anything but local files. */
  void requireLocal() throws Failure {
    // What an option list names is a file whatever it looks like.
    boolean listed = !typed.equals(literal) && !typed.startsWith("file:");
    String protocol = listed ? "" : protocol(typed);
    if (!protocol.isEmpty() && !protocol.equals("file")) {
      throw new Failure("Unknown protocol '" + protocol + "'");
    }
  }

  /**
   * The file's path.
   *
   * @throws Failure in QEMU's words for a name that cannot be opened; without {@code Could not
   *     open}
   */
  Path path() throws Failure {
    if (nodes != null) {
      throw new Failure("This command opens files, and no other block drivers");
    }
    requireLocal();
    if (literal.isEmpty()) {
      throw new Failure("The 'file' block driver requires a file name");
    }
    return toPath();
  }

  /**
   * Where names inside the image are relative to: its path, or that of the file below its drivers.
   */
  Path place() throws Failure {
    if (nodes == null) {
      return path();
    }
    String lowest = "";
    for (String name : nodes.names()) {
      boolean file = name.equals("filename") || name.endsWith(".filename");
      lowest = file && name.length() >= lowest.length() ? name : lowest;
    }
    String file = lowest.isEmpty() ? null : nodes.copy().take(lowest);
    return file == null ? Path.of("") : new FileName("", file).path();
  }

  /** Refuses a file where only a device may stand. */
  void requireDevice() throws Failure {
    if (Files.isRegularFile(path())) {
      throw new Failure(
          "'host_device' driver requires '"
              + literal
              + "' to be either a character or block device");
    }
  }

  /** The path of a file that is to be made. */
  Path newPath() throws Failure {
    requireLocal();
    if (literal.isEmpty()) {
      throw new Failure("Could not create '': No such file or directory");
    }
    return toPath();
  }

  private Path toPath() throws Failure {
    try {
      return Path.of(literal);
    } catch (InvalidPathException e) {
      throw new Failure("Could not open '" + literal + "': " + e.getReason(), 1, e);
    }
  }
}
