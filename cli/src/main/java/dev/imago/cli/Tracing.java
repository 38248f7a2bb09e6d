package dev.imago.cli;

import java.util.Set;

/** {@code --trace}: QEMU's trace events. There are none here, and so nothing to be traced. */
final class Tracing {
  private static final Set<String> KEYS = Set.of("enable", "events", "file");

  private Tracing() {}

  /**
   * Accepts what is to be traced, and warns of an event that is not there. A pattern may match
   * nothing.
   *
   * @param spec {@code [enable=]EVENT[,events=FILE][,file=FILE]}
   */
  static void accept(Terminal terminal, String spec) throws Failure {
    for (String part : spec.split(",", -1)) {
      int equals = part.indexOf('=');
      String key = equals < 0 ? "enable" : part.substring(0, equals);
      String value = part.substring(equals + 1);
      if (!KEYS.contains(key)) {
        throw new Failure("Invalid parameter '" + key + "'");
      }
      if (key.equals("enable") && !value.isEmpty() && !value.contains("*")) {
        terminal.warning("trace event '" + value + "' does not exist");
      }
    }
  }
}
