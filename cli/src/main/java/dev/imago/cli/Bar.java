package dev.imago.cli;

import java.util.Locale;

/**
 * A line of progress for people at a terminal: what is done of how much, how fast, and how long the
 * rest may take. Plain ASCII; each line covers the one before it.
 *
 * <pre>convert  42% [=============>                   ]  860 MiB/2 GiB  412 MiB/s  3 s left</pre>
 */
final class Bar {
  /** Between two lines, unless it is the last. */
  private static final long INTERVAL = 100_000_000;

  private static final double SECOND = 1e9;
  private static final int WIDEST = 110;
  private static final int SHORTEST_BAR = 8;

  private final String command;
  private final boolean bytes;
  private final int columns;
  private final long began;
  private long last;
  private long lastDone;
  private double rate;
  private int printed;

  /**
   * Begins to count the time.
   *
   * @param bytes whether units of work are bytes
   * @param columns of the terminal
   * @param now in nanoseconds
   */
  Bar(String command, boolean bytes, int columns, long now) {
    this.command = command;
    this.bytes = bytes;
    this.columns = Math.min(columns, WIDEST) - 1;
    this.began = now;
    this.last = now - INTERVAL;
  }

  /** The line to print now, to its carriage return; empty if the last one is too fresh. */
  String line(long done, long total, long now) {
    boolean end = done >= total;
    if (now - last < INTERVAL && !end) {
      return "";
    }
    double moment = (now - last) / SECOND;
    double fresh = Math.max(0, done - lastDone) / moment;
    if (done > 0 && moment > 0) {
      rate = rate == 0 ? fresh : 0.7 * rate + 0.3 * fresh;
    }
    last = now;
    lastDone = done;
    return cover(text(done, total, now, end));
  }

  private String text(long done, long total, long now, boolean end) {
    int percent = total == 0 ? 100 : (int) (100.0 * done / total);
    String left = "%s %3d%% ".formatted(command, percent);
    double seconds = (now - began) / SECOND;
    double shown = end ? done / Math.max(seconds, 1e-3) : rate;
    StringBuilder right = new StringBuilder("  ");
    if (bytes) {
      if (!end) {
        HumanSize.append(right, done);
        right.append('/');
      }
      HumanSize.append(right, total);
      right.append("  ");
      HumanSize.append(right, (long) shown);
      right.append("/s");
    } else {
      right.append(done).append('/').append(total);
    }
    if (end) {
      right.append("  in ").append(time(seconds));
    } else if (rate > 0) {
      right.append("  ").append(time((total - done) / rate)).append(" left");
    }
    int room = columns - left.length() - right.length() - 2;
    String bar = room < SHORTEST_BAR ? "" : '[' + bar(room, percent) + ']';
    return left + bar + right;
  }

  private static String bar(int room, int percent) {
    int full = room * percent / 100;
    return "=".repeat(full) + (full < room ? ">" + " ".repeat(room - full - 1) : "");
  }

  /** With blanks over what the line before has more, cut to the terminal's width. */
  private String cover(String text) {
    String shown = text.length() > columns ? text.substring(0, Math.max(0, columns)) : text;
    String covering = shown + " ".repeat(Math.max(0, printed - shown.length()));
    printed = shown.length();
    return covering + "\r";
  }

  /** {@code 0.4 s}, {@code 12 s}, {@code 3:07}, {@code 2:03:07}. */
  static String time(double seconds) {
    if (seconds < 9.95) {
      return String.format(Locale.ROOT, "%.1f s", seconds);
    }
    long whole = Math.round(Math.min(seconds, 359_999_999));
    if (whole < 60) {
      return whole + " s";
    }
    String minutes = whole < 3600 ? "%d:%02d" : "%d:%02d:%02d";
    return whole < 3600
        ? String.format(Locale.ROOT, minutes, whole / 60, whole % 60)
        : String.format(Locale.ROOT, minutes, whole / 3600, whole / 60 % 60, whole % 60);
  }
}
