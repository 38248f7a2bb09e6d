package dev.imago.cli;

import java.util.ArrayList;
import java.util.List;

/** The argument of {@code -o}: {@code name=value,name=value}; a comma in a value is doubled. */
final class OptionList {
  private OptionList() {}

  /** One name and its value. */
  record Pair(String name, String value) {}

  /** Refuses lists that cannot be joined with others: empty, or with a single comma at an end. */
  static void requireValid(String list) throws Failure {
    int commas = 0;
    while (commas < list.length() && list.charAt(list.length() - 1 - commas) == ',') {
      commas++;
    }
    if (list.isEmpty() || list.charAt(0) == ',' || commas % 2 == 1) {
      throw new Failure("Invalid option list: " + list);
    }
  }

  /** Whether one of the names is {@code help} or {@code ?}, without a value. */
  static boolean asksForHelp(String list) {
    for (String part : parts(list)) {
      if (part.equals("help") || part.equals("?")) {
        return true;
      }
    }
    return false;
  }

  /** The pairs in their order. {@code name} alone is on, {@code noname} is off. */
  static List<Pair> pairs(String list) {
    List<Pair> pairs = new ArrayList<>();
    for (String part : parts(list)) {
      int equals = part.indexOf('=');
      if (equals >= 0) {
        pairs.add(new Pair(part.substring(0, equals), part.substring(equals + 1)));
      } else if (part.startsWith("no")) {
        pairs.add(new Pair(part.substring(2), "off"));
      } else {
        pairs.add(new Pair(part, "on"));
      }
    }
    return pairs;
  }

  /** What a switch is set to; refuses values that say neither. */
  static boolean isOn(String name, String value) throws Failure {
    return switch (value) {
      case "on", "yes", "true", "y" -> true;
      case "off", "no", "false", "n" -> false;
      default -> throw new Failure("Parameter '" + name + "' expects 'on' or 'off'");
    };
  }

  private static List<String> parts(String list) {
    List<String> parts = new ArrayList<>();
    StringBuilder part = new StringBuilder();
    for (int i = 0; i < list.length(); i++) {
      char c = list.charAt(i);
      if (c != ',') {
        part.append(c);
      } else if (i + 1 < list.length() && list.charAt(i + 1) == ',') {
        part.append(',');
        i++;
      } else {
        parts.add(part.toString());
        part.setLength(0);
      }
    }
    if (!part.isEmpty()) {
      parts.add(part.toString());
    }
    return parts;
  }

  /** A value as it would have to stand in a list. */
  static String quote(String value) {
    return value.replace(",", ",,");
  }
}
