package dev.imago.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A command's help text taken apart: what completions and manual pages are made of.
 *
 * @param command its name
 * @param syntax its first line, the command's name included
 * @param summary what the command does
 * @param options in the order of the text
 * @param notes what stands below the options
 */
record HelpText(
    String command, String syntax, String summary, List<Described> options, String notes) {

  /**
   * One line of options.
   *
   * @param head as it stands in the text, {@code -f, --format FMT}
   * @param names what is in it
   * @param description on one line
   */
  record Described(String head, List<Name> names, String description) {}

  /**
   * One form of an option.
   *
   * @param name with its dashes
   * @param value what follows, {@code FMT} or {@code human|json}; empty if nothing does
   */
  record Name(String name, String value) {
    /** The words that the value can be; empty if it is free. */
    List<String> choices() {
      return switch (value) {
        case "FMT" -> List.of("qcow2", "raw");
        case "CACHE" -> List.of("none", "writeback", "writethrough", "directsync", "unsafe");
        default -> value.contains("|") ? List.of(value.split("\\|", -1)) : List.of();
      };
    }

    boolean hasValue() {
      return !value.isEmpty();
    }

    /** Whether the value is the name of a file. */
    boolean isFile() {
      return value.equals("FILE") || value.equals("SOURCE") || value.equals("BASE");
    }

    boolean isLong() {
      return name.startsWith("--");
    }
  }

  private static final Pattern NAME =
      Pattern.compile("(--[a-z0-9][a-z0-9-]*|-[A-Za-z])(?:([ =])([^\\s,-][^\\s]*))?");

  /** Takes the text of {@code help/COMMAND.txt} apart. */
  static HelpText parse(String command, String text) {
    List<String> lines = text.lines().toList();
    List<Described> options = new ArrayList<>();
    StringBuilder notes = new StringBuilder();
    for (int i = 2; i < lines.size(); i++) {
      String line = lines.get(i);
      if (!line.startsWith("  -")) {
        notes.append(line.strip()).append('\n');
        continue;
      }
      String head = line.strip().split(" {2,}", 2)[0];
      StringBuilder description = new StringBuilder(line.strip().substring(head.length()).strip());
      while (i + 1 < lines.size() && lines.get(i + 1).startsWith("      ")) {
        description.append(' ').append(lines.get(++i).strip());
      }
      options.add(option(head, description.toString().strip()));
    }
    return new HelpText(
        command, lines.get(0), lines.get(1), List.copyOf(options), notes.toString());
  }

  /**
   * In {@code -f, --format FMT} both have the value; in {@code -p, --progress=FMT} only the long
   * form.
   */
  private static Described option(String head, String description) {
    List<Name> names = new ArrayList<>();
    Matcher matcher = NAME.matcher(head);
    while (matcher.find()) {
      String value = matcher.group(3) == null ? "" : matcher.group(3).replaceFirst(",$", "");
      if (" ".equals(matcher.group(2))) {
        names.replaceAll(name -> name.hasValue() ? name : new Name(name.name(), value));
      }
      names.add(new Name(matcher.group(1), value));
    }
    return new Described(head, List.copyOf(names), description);
  }
}
