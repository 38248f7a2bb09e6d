package dev.imago.interop.cli;

import dev.imago.cli.Main;
import dev.imago.testing.Tool;
import java.io.ByteArrayInputStream;
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

  /** The same without what says how long something took. */
  Answer withoutTimes() {
    return new Answer(
        exit,
        out.replaceAll("(?m)(, 1 ops; ).*ops/sec\\)$", "$1")
            .replaceAll("(?m)^(\\d+,1,)[0-9:.]+,[0-9.]+,[0-9.]+$", "$1"),
        err);
  }

  /** Asks the installed qemu-img. */
  static Answer ofQemu(String... args) throws Exception {
    return ofProgram("qemu-img", args);
  }

  /** Asks an installed program. */
  static Answer ofProgram(String program, String... args) throws Exception {
    Object[] command = new Object[args.length + 1];
    command[0] = program;
    System.arraycopy(args, 0, command, 1, args.length);
    Tool.Outcome outcome = Tool.run(command);
    return new Answer(outcome.status(), outcome.out(), outcome.err());
  }

  /** Asks our command line, called by QEMU's name, in this JVM. */
  static Answer ofOurs(String... args) {
    return ofProgramOfOurs("qemu-img", "", args);
  }

  /**
   * Asks our command line.
   *
   * @param program the name that it is called by
   * @param in what it finds on standard input
   */
  static Answer ofProgramOfOurs(String program, String in, String... args) {
    var out = new ByteArrayOutputStream();
    var err = new ByteArrayOutputStream();
    int exit =
        Main.run(
            program,
            args,
            new ByteArrayInputStream(in.getBytes(StandardCharsets.UTF_8)),
            new PrintStream(out, false, StandardCharsets.UTF_8),
            new PrintStream(err, false, StandardCharsets.UTF_8));
    return new Answer(
        exit, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }
}
