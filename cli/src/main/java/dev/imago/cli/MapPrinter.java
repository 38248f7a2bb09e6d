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

    private final Line line = new Line();
    private String file = "";
    private byte[] fileAndEnd = {'\n'};

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
        if (!entry.file().equals(file)) {
          file = entry.file();
          fileAndEnd = Line.bytes(file + "\n");
        }
        line.hex(entry.start(), COLUMN);
        line.hex(entry.length(), COLUMN);
        line.hex(entry.offset(), COLUMN);
        line.text(fileAndEnd).print(terminal.out());
      }
    }

    @Override
    void end(MapEntry last) throws Failure {
      print(last);
    }
  }

  /** An array with one object a line. */
  static final class Json extends MapPrinter {
    private static final byte[] OPEN = Line.bytes("[{ \"start\": ");
    private static final byte[] NEXT = Line.bytes(",\n{ \"start\": ");
    private static final byte[] LENGTH = Line.bytes(", \"length\": ");
    private static final byte[] DEPTH = Line.bytes(", \"depth\": ");
    private static final byte[] PRESENT = Line.bytes(", \"present\": ");
    private static final byte[] ZERO = Line.bytes(", \"zero\": ");
    private static final byte[] DATA = Line.bytes(", \"data\": ");
    private static final byte[] OFFSET = Line.bytes(", \"offset\": ");
    private static final byte[] CLOSE = Line.bytes("}");
    private static final byte[] TRUE = Line.bytes("true");
    private static final byte[] FALSE = Line.bytes("false");

    private final Line line = new Line();
    private boolean first = true;

    Json(Terminal terminal) {
      super(terminal);
    }

    @Override
    void begin() {}

    @Override
    void print(MapEntry entry) {
      line.text(first ? OPEN : NEXT).decimal(entry.start());
      line.text(LENGTH).decimal(entry.length());
      line.text(DEPTH).decimal(entry.depth());
      line.text(PRESENT).text(entry.present() ? TRUE : FALSE);
      line.text(ZERO).text(entry.zero() ? TRUE : FALSE);
      line.text(DATA).text(entry.data() ? TRUE : FALSE);
      if (entry.offset() >= 0) {
        line.text(OFFSET).decimal(entry.offset());
      }
      line.text(CLOSE).print(terminal.out());
      first = false;
    }

    @Override
    void end(MapEntry last) {
      print(last);
      terminal.print("]\n");
    }
  }
}
