package dev.imago.cli;

import java.util.List;

/** Writes JSON in QEMU's layout: four blanks a level, one element a line, ASCII only. */
final class Json {
  private Json() {}

  /** One value, over as many lines as it takes, without a last line end. */
  static void append(StringBuilder out, Object value) {
    append(out, value, 0);
  }

  private static void append(StringBuilder out, Object value, int depth) {
    if (value instanceof String string) {
      quote(out, string);
    } else if (value instanceof Dict dict) {
      out.append('{');
      for (int i = 0; i < dict.size(); i++) {
        newLine(out, i > 0, depth + 1);
        quote(out, dict.key(i));
        out.append(": ");
        append(out, dict.value(i), depth + 1);
      }
      newLine(out, false, depth);
      out.append('}');
    } else if (value instanceof List<?> list) {
      out.append('[');
      for (int i = 0; i < list.size(); i++) {
        newLine(out, i > 0, depth + 1);
        append(out, list.get(i), depth + 1);
      }
      newLine(out, false, depth);
      out.append(']');
    } else {
      out.append(value);
    }
  }

  /** One object in one line, as names of the form {@code json:{…}} have it. */
  static void appendLine(StringBuilder out, Dict dict) {
    out.append('{');
    for (int i = 0; i < dict.size(); i++) {
      out.append(i > 0 ? ", " : "");
      quote(out, dict.key(i));
      out.append(": ");
      Object value = dict.value(i);
      if (value instanceof Dict inner) {
        appendLine(out, inner);
      } else {
        append(out, value);
      }
    }
    out.append('}');
  }

  private static void newLine(StringBuilder out, boolean comma, int depth) {
    out.append(comma ? ",\n" : "\n");
    for (int i = 0; i < depth; i++) {
      out.append("    ");
    }
  }

  /** A string with its quotes. */
  static void quote(StringBuilder out, String string) {
    out.append('"');
    for (int i = 0; i < string.length(); i++) {
      char c = string.charAt(i);
      switch (c) {
        case '"' -> out.append("\\\"");
        case '\\' -> out.append("\\\\");
        case '\b' -> out.append("\\b");
        case '\f' -> out.append("\\f");
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        default -> {
          if (c >= 0x20 && c < 0x7f) {
            out.append(c);
          } else {
            unicode(out, c);
          }
        }
      }
    }
    out.append('"');
  }

  private static void unicode(StringBuilder out, char c) {
    out.append("\\u");
    for (int shift = 12; shift >= 0; shift -= 4) {
      out.append("0123456789ABCDEF".charAt(c >> shift & 15));
    }
  }
}
