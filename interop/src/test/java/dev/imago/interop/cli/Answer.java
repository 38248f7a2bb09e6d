package dev.imago.interop.cli;

import dev.imago.cli.Main;
import dev.imago.testing.Tool;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** What a program says to a command line. */
record Answer(int exit, String out, String err) {

  /**
   * The same without progress between 0 and 100 %, for how far a step goes is each program's own,
   * and without how long a run took.
   */
  Answer withoutSteps() {
    String told =
        out.replaceAll("    \\((?!0\\.00|100\\.00)[0-9.]+/100%\\)\r", "")
            .replaceAll("Run completed in [0-9]+\\.[0-9]{3} seconds\\.", "Run completed.");
    return new Answer(exit, told, err);
  }

  /** Asks the installed qemu-img. */
  static Answer ofQemu(String... args) throws Exception {
    Object[] command = new Object[args.length + 1];
    command[0] = "qemu-img";
    System.arraycopy(args, 0, command, 1, args.length);
    Tool.Outcome outcome = Tool.run(command);
    return new Answer(outcome.status(), outcome.out(), outcome.err());
  }

  /** Asks our command line, called by QEMU's name, in this JVM. */
  static Answer ofOurs(String... args) {
    var out = new ByteArrayOutputStream();
    var err = new ByteArrayOutputStream();
    int exit =
        Main.run(
            "qemu-img",
            args,
            new PrintStream(out, false, StandardCharsets.UTF_8),
            new PrintStream(err, false, StandardCharsets.UTF_8));
    return new Answer(
        exit, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }
}
