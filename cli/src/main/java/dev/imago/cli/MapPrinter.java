package dev.imago.cli;

/** Prints the lines of {@code map}. */
abstract class MapPrinter {
  final Terminal terminal;

  MapPrinter(Terminal terminal) {
    this.terminal = terminal;
  }

  abstract void begin();

  abstract void print(MapEntry entry) throws Failure;

  /** Prints the last line and what comes behind it. */
  abstract void end(MapEntry last) throws Failure;

  /** A table of what can be read from a file as it is. */
  static final class Human extends MapPrinter {
    private static final int COLUMN = 16;

    Human(Terminal terminal) {
      super(terminal);
    }

    @Override
    void begin() {
      terminal.line("Offset          Length          Mapped to       File");
    }

    @Override
    void print(MapEntry entry) throws Failure {
      if (entry.data() && entry.offset() < 0) {
        throw new Failure("File contains external, encrypted or compressed clusters.");
      }
      if (entry.data() && !entry.zero()) {
        StringBuilder line = new StringBuilder();
        column(line, entry.start());
        column(line, entry.length());
        column(line, entry.offset());
        terminal.line(line.append(entry.file()).toString());
      }
    }

    @Override
    void end(MapEntry last) throws Failure {
      print(last);
    }

    private static void column(StringBuilder line, long number) {
      int start = line.length();
      line.append(number == 0 ? "0" : "0x" + Long.toHexString(number));
      while (line.length() - start < COLUMN) {
        line.append(' ');
      }
    }
  }

  /** An array with one object a line. */
  static final class Json extends MapPrinter {
    private boolean first = true;

    Json(Terminal terminal) {
      super(terminal);
    }

    @Override
    void begin() {}

    @Override
    void print(MapEntry entry) {
      StringBuilder line = new StringBuilder(first ? "[" : ",\n");
      first = false;
      line.append("{ \"start\": ").append(entry.start());
      line.append(", \"length\": ").append(entry.length());
      line.append(", \"depth\": ").append(entry.depth());
      line.append(", \"present\": ").append(entry.present());
      line.append(", \"zero\": ").append(entry.zero());
      line.append(", \"data\": ").append(entry.data());
      if (entry.offset() >= 0) {
        line.append(", \"offset\": ").append(entry.offset());
      }
      terminal.print(line.append('}'));
    }

    @Override
    void end(MapEntry last) {
      print(last);
      terminal.print("]\n");
    }
  }
}
