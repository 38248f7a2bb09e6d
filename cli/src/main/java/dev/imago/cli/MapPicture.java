package dev.imago.cli;

import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import java.io.IOException;
import java.util.Locale;

/**
 * {@code map --visual}: an image as a picture of characters, each for a run of its disk. A
 * character shows what most of its run is; but a run with any data never looks empty.
 */
final class MapPicture {
  private static final int WIDEST = 96;
  private static final int LABEL = 10;
  private static final int ROWS = 16;

  /** What bytes can be: its character, its colour as a number of ECMA-48, and its name. */
  private enum Kind {
    DATA(0, '#', 32, "data of this image"),
    COMPRESSED(1, 'c', 33, "compressed data of this image"),
    BACKING(2, '1', 36, "data of a backing image, so many layers below (+: more than 9)"),
    ZERO(3, '-', 90, "zeroes"),
    NOTHING(4, '.', 0, "not allocated: reads as zeroes");

    final int index;
    final char sign;
    final int colour;
    final String meaning;

    Kind(int index, char sign, int colour, String meaning) {
      this.index = index;
      this.sign = sign;
      this.colour = colour;
      this.meaning = meaning;
    }
  }

  private final Terminal terminal;
  private final Image image;
  private final boolean colours;
  private final int width;
  private final long cell;
  private final int cells;

  /** For each cell its bytes of each kind. */
  private final long[][] bytes;

  /** For each cell the depth that most of its backing data has, and how much that is. */
  private final int[] depth;

  private final long[] deepest;

  /** Lays the picture out. */
  MapPicture(Terminal terminal, Image image, boolean colours) {
    this.terminal = terminal;
    this.image = image;
    this.colours = colours;
    int columns = terminal.columns() > 0 ? terminal.columns() : 80;
    this.width = Math.max(8, Math.min(columns, WIDEST) - LABEL - 3) & ~7;
    long unit = Math.max(image.clusterSize(), 512);
    while (unit < 1L << 61 && (image.size() - 1) / unit >= (long) width * ROWS) {
      unit *= 2;
    }
    this.cell = unit;
    this.cells = image.size() == 0 ? 0 : (int) ((image.size() - 1) / unit) + 1;
    this.bytes = new long[cells][Kind.values().length];
    this.depth = new int[cells];
    this.deepest = new long[cells];
  }

  /** Looks at the whole disk and draws it. */
  void draw() throws IOException {
    long[] total = new long[Kind.values().length];
    for (long at = 0; at < image.size(); ) {
      Extent extent = image.resolve(at, image.size() - at);
      Kind kind = kind(extent);
      total[kind.index] += extent.length();
      add(kind, extent.depth(), at, at + extent.length());
      at += extent.length();
    }
    StringBuilder text = new StringBuilder();
    text.append(image.name()).append(": ");
    HumanSize.append(text, image.size());
    text.append(", each character ");
    HumanSize.append(text, cell);
    text.append("\n\n");
    for (int first = 0; first < cells; first += width) {
      row(text, first);
    }
    text.append(cells > 0 ? "\n" : "");
    for (Kind kind : Kind.values()) {
      legend(text, kind, total[kind.index]);
    }
    terminal.print(text);
  }

  private static Kind kind(Extent extent) {
    Mapping mapping = extent.mapping();
    if (mapping instanceof Mapping.Zero) {
      return Kind.ZERO;
    }
    boolean encoded = mapping instanceof Mapping.Encoded;
    if (!encoded && !(mapping instanceof Mapping.Data)) {
      return Kind.NOTHING;
    }
    return extent.depth() > 0 ? Kind.BACKING : encoded ? Kind.COMPRESSED : Kind.DATA;
  }

  private void add(Kind kind, int layer, long from, long to) {
    for (long at = from; at < to; ) {
      int index = (int) (at / cell);
      long end = Math.min(to, (index + 1) * cell);
      bytes[index][kind.index] += end - at;
      if (kind == Kind.BACKING && end - at > deepest[index]) {
        deepest[index] = end - at;
        depth[index] = layer;
      }
      at = end;
    }
  }

  private void row(StringBuilder text, int first) {
    StringBuilder label = new StringBuilder();
    HumanSize.append(label, first * cell);
    text.append(" ".repeat(Math.max(0, LABEL - label.length()))).append(label).append("  ");
    Kind before = null;
    for (int i = first; i < Math.min(cells, first + width); i++) {
      Kind kind = shown(bytes[i]);
      if (kind != before) {
        colour(text, kind);
        before = kind;
      }
      text.append(sign(kind, depth[i]));
    }
    reset(text);
    text.append('\n');
  }

  private static Kind shown(long[] ofCell) {
    Kind most = null;
    for (Kind kind : Kind.values()) {
      boolean empty = kind == Kind.ZERO || kind == Kind.NOTHING;
      long here = ofCell[kind.index];
      boolean filled = most != null && most != Kind.ZERO && most != Kind.NOTHING;
      if (here > 0 && (most == null || (!(empty && filled) && here > ofCell[most.index]))) {
        most = kind;
      }
    }
    return most == null ? Kind.NOTHING : most;
  }

  private static char sign(Kind kind, int layer) {
    if (kind != Kind.BACKING) {
      return kind.sign;
    }
    return layer > 9 ? '+' : (char) ('0' + layer);
  }

  private void legend(StringBuilder text, Kind kind, long total) {
    if (total == 0) {
      return;
    }
    text.append(' ');
    colour(text, kind);
    text.append(kind == Kind.BACKING ? "1-9" : "  " + kind.sign);
    reset(text);
    StringBuilder size = new StringBuilder();
    HumanSize.append(size, total);
    text.append(
        String.format(Locale.ROOT, "  %9s  %3d%%  %s\n", size, percent(total), kind.meaning));
  }

  private int percent(long total) {
    return (int) Math.round(100.0 * total / image.size());
  }

  private void colour(StringBuilder text, Kind kind) {
    if (colours) {
      text.append("\u001b[").append(kind.colour).append('m');
    }
  }

  private void reset(StringBuilder text) {
    if (colours) {
      text.append("\u001b[0m");
    }
  }
}
