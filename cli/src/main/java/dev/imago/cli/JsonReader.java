package dev.imago.cli;

import java.util.Map;

/**
 * Reads the JSON of a {@code json:{…}} name into flat options: the value of {@code "b"} in {@code
 * "a"} becomes {@code a.b}, elements of a list {@code a.0}, {@code a.1}…
 */
final class JsonReader {
  private static final int MAX_DEPTH = 64;

  private final String text;
  private final Map<String, String> options;
  private int at;

  private JsonReader(String text, Map<String, String> options) {
    this.text = text;
    this.options = options;
  }

  /** Adds what one object holds. */
  static void read(String text, Map<String, String> options) throws Failure {
    JsonReader reader = new JsonReader(text, options);
    reader.blanks();
    if (reader.next() != '{') {
      reader.value("", 0);
      throw new Failure("Invalid JSON object given");
    }
    reader.value("", 0);
    reader.blanks();
    if (reader.at < text.length()) {
      throw reader.wrong("expecting value");
    }
  }

  private char next() {
    return at < text.length() ? text.charAt(at) : 0;
  }

  private void blanks() {
    while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
  }

  private Failure wrong(String problem) {
    return new Failure("Could not parse the JSON options: JSON parse error, " + problem);
  }

  private void value(String name, int depth) throws Failure {
    if (depth > MAX_DEPTH) {
      throw wrong("nested too deeply");
    }
    blanks();
    char first = next();
    if (first == '{') {
      object(name, depth);
    } else if (first == '[') {
      list(name, depth);
    } else if (first == '"' || first == '\'') {
      options.put(name, string(first));
    } else if (first == '-' || (first >= '0' && first <= '9')) {
      options.put(name, word("+-.0123456789eE"));
    } else if (first == 0) {
      throw wrong("premature end of input");
    } else {
      keyword(name);
    }
  }

  private void keyword(String name) throws Failure {
    String word = word("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    switch (word) {
      case "true" -> options.put(name, "on");
      case "false" -> options.put(name, "off");
      case "null" -> options.put(name, "");
      case "" -> throw wrong("stray '" + next() + "'");
      default -> throw wrong("invalid keyword '" + word + "'");
    }
  }

  private String word(String letters) {
    int start = at;
    while (at < text.length() && letters.indexOf(text.charAt(at)) >= 0) {
      at++;
    }
    return text.substring(start, at);
  }

  private void object(String name, int depth) throws Failure {
    at++;
    blanks();
    if (next() == '}') {
      at++;
      return;
    }
    do {
      blanks();
      if (next() != '"' && next() != '\'') {
        throw wrong("key is not a string in object");
      }
      String key = string(next());
      blanks();
      if (next() != ':') {
        throw wrong("missing : in object pair");
      }
      at++;
      value(name.isEmpty() ? key : name + "." + key, depth + 1);
      blanks();
    } while (comma());
    if (next() != '}') {
      throw wrong("expected separator in dict");
    }
    at++;
  }

  private void list(String name, int depth) throws Failure {
    at++;
    blanks();
    if (next() == ']') {
      at++;
      return;
    }
    int index = 0;
    do {
      value(name + "." + index++, depth + 1);
      blanks();
    } while (comma());
    if (next() != ']') {
      throw wrong("expected separator in list");
    }
    at++;
  }

  private boolean comma() {
    if (next() == ',') {
      at++;
      return true;
    }
    return false;
  }

  private String string(char quote) throws Failure {
    StringBuilder string = new StringBuilder();
    at++;
    while (next() != quote) {
      if (at >= text.length()) {
        throw wrong("premature end of input");
      }
      char c = text.charAt(at++);
      string.append(c == '\\' ? escaped() : c);
    }
    at++;
    return string.toString();
  }

  private char escaped() throws Failure {
    char c = next();
    at++;
    return switch (c) {
      case '"', '\'', '\\', '/' -> c;
      case 'b' -> '\b';
      case 'f' -> '\f';
      case 'n' -> '\n';
      case 'r' -> '\r';
      case 't' -> '\t';
      case 'u' -> {
        try {
          char code = (char) Integer.parseInt(text, at, at + 4, 16);
          at += 4;
          yield code;
        } catch (NumberFormatException | IndexOutOfBoundsException e) {
          throw wrong("\\u needs 4 hexadecimal digits");
        }
      }
      default -> throw wrong("invalid escape sequence in string");
    };
  }
}
