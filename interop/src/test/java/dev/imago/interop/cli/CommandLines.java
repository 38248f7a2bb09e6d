package dev.imago.interop.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** The tables of command lines in {@code src/test/resources/contract}. */
final class CommandLines {
  private static final String ONLY = System.getProperty("imago.contract", "");

  private CommandLines() {}

  /**
   * The lines of a table without comments and empty ones; none if {@code -Dimago.contract} names
   * another table.
   */
  static Stream<String> of(String table) {
    if (!ONLY.isEmpty() && !table.equals(ONLY)) {
      return Stream.empty();
    }
    try (InputStream in = CommandLines.class.getResourceAsStream("/contract/" + table + ".txt")) {
      return new String(in.readAllBytes(), StandardCharsets.UTF_8)
          .lines()
          .filter(line -> !line.isBlank() && !line.startsWith("#"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * The words of a line, as a shell would take them apart: single quotes keep blanks.
   *
   * @param folder stands, with a slash behind it, for every {@code @}, and its absolute path for
   *     every {@code ^}
   */
  static String[] words(String line, Path folder) {
    List<String> words = new ArrayList<>();
    StringBuilder word = null;
    boolean quoted = false;
    for (char c : line.toCharArray()) {
      if (c == '\'') {
        quoted = !quoted;
        word = word == null ? new StringBuilder() : word;
      } else if (c == ' ' && !quoted) {
        if (word != null) {
          words.add(word.toString());
          word = null;
        }
      } else {
        word = word == null ? new StringBuilder() : word;
        word.append(c == '@' ? folder + "/" : c == '^' ? folder.toAbsolutePath() + "/" : c);
      }
    }
    if (word != null) {
      words.add(word.toString());
    }
    return words.toArray(new String[0]);
  }
}
