package dev.imago.cli;

import java.io.InputStream;
import java.io.PrintStream;

/**
 * Where a command's words go, and where its passphrases are kept. Results go to {@code out},
 * everything else to {@code err}.
 *
 * @param program the name under which we were called; it stands before every message
 * @param in what a command that asks for its input reads
 * @param columns of the terminal that {@code out} is; 0 if it is none
 * @param secrets what the command line brought of them; wiped at its end
 */
record Terminal(
    String program,
    InputStream in,
    PrintStream out,
    PrintStream err,
    int columns,
    Secrets secrets) {

  /** Without a terminal, input and secrets. */
  Terminal(String program, PrintStream out, PrintStream err) {
    this(program, InputStream.nullInputStream(), out, err, 0, new Secrets());
  }

  /** Whether we may say more than QEMU's programs do, because we were not called by such a name. */
  boolean isImago() {
    return !program.startsWith("qemu-");
  }

  /** Prints a result as it is. */
  void print(CharSequence text) {
    out.append(text);
  }

  /** Prints a result and a line end, whatever the platform thinks that is. */
  void line(String text) {
    out.append(text).append('\n');
  }

  void error(String message) {
    complain(message);
  }

  void warning(String message) {
    complain("warning: " + message);
  }

  private void complain(String message) {
    err.append(program + ": " + message + "\n");
  }

  /** A line on the error stream without the program's name before it. */
  void note(String line) {
    err.append(line + "\n");
  }
}
