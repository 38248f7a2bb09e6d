package dev.imago.testing;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** Which files this process has open. */
public final class OpenFiles {
  private OpenFiles() {}

  /** The names of this process's descriptors of files below {@code folder}, removed ones too. */
  public static List<String> below(Path folder) throws IOException {
    Path real = folder.toRealPath();
    List<Path> descriptors;
    try (Stream<Path> all = Files.list(Path.of("/proc/self/fd"))) {
      descriptors = all.toList();
    }
    List<String> found = new ArrayList<>();
    for (Path descriptor : descriptors) {
      try {
        Path file = Files.readSymbolicLink(descriptor);
        if (file.startsWith(real)) {
          found.add(file.toString());
        }
      } catch (NoSuchFileException e) {
        // Closed since the list was made, as the list itself is.
      }
    }
    return found;
  }
}
