package dev.imago.cli;

import dev.imago.image.Progress;

/**
 * Tells how far a long command is: as {@code -p} of qemu-img does, as JSON lines, or not at all.
 */
final class ProgressOutput implements Progress {
  /** How to tell. */
  enum Style {
    NONE,
    HUMAN,
    JSON
  }

  private final Terminal terminal;
  private final String command;
  private final Style style;
  private final double step;
  private double printed = -1;
  private double percent;

  /**
   * Prints nothing yet.
   *
   * @param step by how many percent the value must move to be printed again
   */
  ProgressOutput(Terminal terminal, String command, Style style, double step) {
    this.terminal = terminal;
    this.command = command;
    this.style = style;
    this.step = step;
  }

  /** The style that {@code --progress=…} asks for. */
  static Style style(String word) throws Failure {
    return switch (word) {
      case "json" -> Style.JSON;
      case "human" -> Style.HUMAN;
      default -> throw new Failure("--progress must be used with human or json as argument.");
    };
  }

  /** The work begins. */
  void begin() {
    if (style == Style.HUMAN) {
      human(0);
    }
  }

  @Override
  public void at(long done, long total) {
    percent = total == 0 ? 100 : 100.0 * done / total;
    if (printed >= 0 && percent < printed + step && (percent < 100 || printed >= 100)) {
      return;
    }
    switch (style) {
      case NONE -> {}
      case HUMAN -> human(percent);
      case JSON -> {
        printed = percent;
        terminal.line(
            "{\"command\":\"" + command + "\",\"done\":" + done + ",\"total\":" + total + "}");
        terminal.out().flush();
      }
    }
  }

  private void human(double value) {
    printed = value;
    terminal.print(String.format(java.util.Locale.ROOT, "    (%3.2f/100%%)\r", value));
    terminal.out().flush();
  }

  /** The work has ended well: the last value is printed as QEMU does, once more. */
  void end() {
    if (style == Style.HUMAN) {
      human(100);
      terminal.line("");
    }
  }

  /** The work has ended otherwise, or its end was told already. */
  void stop() {
    if (style == Style.HUMAN) {
      terminal.line("");
    }
  }
}
