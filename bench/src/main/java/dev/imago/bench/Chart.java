package dev.imago.bench;

import java.util.List;
import java.util.Locale;

/**
 * Draws ratios as bars, one below another: SVG. Its colours can be read on light pages and on dark
 * ones: what a browser prefers need not be what the page has.
 */
final class Chart {
  private static final int WIDTH = 960;
  private static final int NAMES = 540;
  private static final int BARS = 360;
  private static final int TOP = 40;
  private static final int ROW = 20;

  private Chart() {}

  /**
   * One row.
   *
   * @param ratio the peer's time ÷ ours
   * @param goal where the goal is, drawn as a stroke
   */
  record Bar(String name, double ratio, Goal goal) {}

  static String svg(List<Bar> bars) {
    double most = 2;
    for (Bar bar : bars) {
      most = Math.max(most, Math.max(bar.ratio, bar.goal.wall()));
    }
    double scale = BARS / most;
    int height = TOP + ROW * bars.size() + 10;
    var out = new StringBuilder();
    out.append(
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d">
        <title>Times as fast as QEMU's tools, by the wall clock</title>
        <style>
        text { font: 12px sans-serif; fill: #6e7781; }
        .name { text-anchor: end; }
        .ahead { fill: #2da44e; }
        .behind { fill: #d4760a; }
        .goal { stroke: #6e7781; stroke-width: 2; }
        line.even { stroke: #6e7781; stroke-dasharray: 4 3; }
        </style>
        <text x="%d" y="20">times as fast as QEMU's tools (wall clock); stroke: wanted</text>
        """
            .formatted(WIDTH, height, WIDTH, height, NAMES));
    int y = TOP;
    for (Bar bar : bars) {
      double end = NAMES + bar.ratio * scale;
      double goal = NAMES + bar.goal.wall() * scale;
      text(out, "name", NAMES - 8, y + 14, bar.name.replace("`", ""));
      String side = bar.ratio < 1 ? "behind" : "ahead";
      out.append("<rect class=\"" + side + "\"" + at("x", NAMES) + at("y", y + 3));
      out.append(at("width", end - NAMES) + at("height", ROW - 6) + "/>\n");
      text(out, "ratio", NAMES + BARS + 10, y + 14, Report.ratio(bar.ratio));
      if (bar.goal.wall() > 0) {
        stroke(out, "goal", goal, y + 2, y + ROW - 2);
      }
      y += ROW;
    }
    stroke(out, "even", NAMES + scale, TOP - 4, y);
    text(out, "even", NAMES + scale - 8, TOP - 6, "1.0");
    return out.append("</svg>\n").toString();
  }

  private static void stroke(StringBuilder out, String kind, double x, int top, int bottom) {
    out.append("<line class=\"" + kind + "\"" + at("x1", x) + at("y1", top));
    out.append(at("x2", x) + at("y2", bottom) + "/>\n");
  }

  private static void text(StringBuilder out, String kind, double x, int y, String words) {
    String escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
    out.append("<text class=\"" + kind + "\"" + at("x", x) + at("y", y) + ">");
    out.append(escaped + "</text>\n");
  }

  private static String at(String attribute, double pixels) {
    return String.format(Locale.ROOT, " %s=\"%.1f\"", attribute, pixels);
  }
}
