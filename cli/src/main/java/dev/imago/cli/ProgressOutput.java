package dev.imago.cli;

import dev.imago.image.Progress;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Tells how far a long command is: as {@code -p} of qemu-img does, as a bar for people at a
 * terminal, as JSON lines, or only when SIGUSR1 asks.
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
  private final @Nullable Bar bar;
  private @Nullable Signals signals;
  private boolean over;
  private double printed = -1;
  private volatile double percent;

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
    // Called by QEMU's name, we print what QEMU prints: programs may hold a terminal too.
    boolean people = style == Style.HUMAN && terminal.columns() > 0 && terminal.isImago();
    this.bar = people ? new Bar(command, countsBytes(command), terminal.columns(), now()) : null;
  }

  private static boolean countsBytes(String command) {
    return switch (command) {
      case "convert", "compare", "commit", "rebase", "dd" -> true;
      default -> false;
    };
  }

  private static long now() {
    return System.nanoTime();
  }

  /** The style that {@code --progress=…} asks for. */
  static Style style(String word) throws Failure {
    return switch (word) {
      case "json" -> Style.JSON;
      case "human" -> Style.HUMAN;
      default -> throw new Failure("--progress must be used with human or json as argument.");
    };
  }

  /** The work begins. From now on signals are answered, if this process is the command's own. */
  void begin() {
    if (Main.ownsProcess) {
      signals = Signals.listen(this);
    }
    if (style == Style.HUMAN && bar == null) {
      human(0);
    }
  }

  /**
   * A file is made from now on. Who makes it takes it away again when its thread is interrupted.
   *
   * @param file what to remove if that takes too long: not there before; null to leave it
   */
  void making(@Nullable Path file) {
    if (signals != null) {
      signals.making(file);
    }
  }

  /** The file that is made is whole. */
  void made() {
    if (signals != null) {
      signals.finished();
    }
  }

  @Override
  public void at(long done, long total) {
    percent = total == 0 ? 100 : 100.0 * done / total;
    if (bar != null) {
      show(bar.line(done, total, now()));
      return;
    }
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
    show(text(value) + "\r");
  }

  private static String text(double value) {
    return String.format(Locale.ROOT, "    (%3.2f/100%%)", value);
  }

  private void show(String text) {
    if (!text.isEmpty()) {
      terminal.print(text);
      terminal.out().flush();
    }
  }

  /** Answers SIGUSR1 as qemu-img does: one line on the error stream, but none with -p. */
  void tell() {
    if (style != Style.HUMAN) {
      terminal.note(text(percent));
      terminal.err().flush();
    }
  }

  /** The work has ended well: the last value is printed as QEMU does, once more. */
  void end() {
    if (style == Style.HUMAN && bar == null) {
      human(100);
    }
    stop();
  }

  /** The work has ended otherwise, or its end was told already. */
  void stop() {
    if (style == Style.HUMAN && !over) {
      over = true;
      terminal.line("");
    }
  }

  /** A result is printed before {@link #stop}: a bar must not be in its way. */
  void giveWay() {
    if (bar != null) {
      stop();
    }
  }

  /** The process is about to end at once, because it was told to. */
  void halted() {
    stop();
    terminal.error("interrupted");
    terminal.out().flush();
    terminal.err().flush();
  }
}
