package dev.imago.cli;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Options of a block driver and of those below it: {@code driver=qcow2,file.driver=file,…}. What
 * nobody takes in the end is refused, not ignored.
 */
final class BlockOptions {
  private final Map<String, String> options;

  /** Takes over the map, which must not be used any more. */
  BlockOptions(Map<String, String> options) {
    this.options = options;
  }

  /** An independent copy. */
  BlockOptions copy() {
    return new BlockOptions(new LinkedHashMap<>(options));
  }

  /** Takes one option out; null if it is not there. */
  @Nullable String take(String name) {
    return options.remove(name);
  }

  /** Adds an option unless it is there. */
  void putIfAbsent(String name, String value) {
    options.putIfAbsent(name, value);
  }

  /** Takes a switch. */
  boolean takeSwitch(String name, boolean usual) throws Failure {
    String value = take(name);
    return switch (value) {
      case null -> usual;
      case "on", "true", "yes" -> true;
      case "off", "false", "no" -> false;
      default -> throw new Failure("Parameter '" + name + "' expects 'on' or 'off'");
    };
  }

  /** Takes a size below 2^63. */
  long takeSize(String name, long usual) throws Failure {
    String value = take(name);
    if (value == null) {
      return usual;
    }
    long bytes = Size.parameter(name, value).bytes();
    if (bytes < 0) {
      throw new Failure("Value '" + value + "' is out of range for parameter '" + name + "'");
    }
    return bytes;
  }

  /** Takes everything whose name begins so, without that beginning. */
  BlockOptions takeBelow(String prefix) {
    Map<String, String> below = new LinkedHashMap<>();
    options.forEach(
        (name, value) -> {
          if (name.startsWith(prefix)) {
            below.put(name.substring(prefix.length()), value);
          }
        });
    options.keySet().removeIf(name -> name.startsWith(prefix));
    return new BlockOptions(below);
  }

  /** The names of what is left. */
  List<String> names() {
    return List.copyOf(options.keySet());
  }

  boolean isEmpty() {
    return options.isEmpty();
  }

  /** Refuses what was not taken. */
  void requireAllTaken(String kind, String driver) throws Failure {
    if (!options.isEmpty()) {
      throw new Failure(
          "Block "
              + kind
              + " '"
              + driver
              + (kind.equals("format") ? "' does not support" : "' doesn't support")
              + " the option '"
              + options.keySet().iterator().next()
              + "'");
    }
  }
}
