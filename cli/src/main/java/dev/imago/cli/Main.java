package dev.imago.cli;

import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** The command line's entry. */
public final class Main {
  /** This program's version, as {@code --version} says it. */
  static final String VERSION = "0.1.0-SNAPSHOT";

  /** The level of qemu-img whose command line this one follows. */
  static final String QEMU_LEVEL = "7.2.0";

  /** Whether this JVM runs one command and nothing else, so that signals are the command's. */
  static boolean ownsProcess;

  /** Whether a signal asked the command to stop. */
  static volatile boolean stopped;

  private Main() {}

  /**
   * Runs one command and ends the JVM with its exit code. The system property {@code imago.program}
   * is the name under which this program was called: {@code imago}, {@code qemu-img}, or {@code
   * qemu-io}, which is nothing but the command {@code io}; {@code imago.columns} is how wide a
   * terminal the standard output is, 0 for none.
   */
  public static void main(String[] args) {
    PrintStream out = stream(FileDescriptor.out);
    PrintStream err = stream(FileDescriptor.err);
    ownsProcess = true;
    String program = System.getProperty("imago.program", "imago");
    int columns = Integer.getInteger("imago.columns", 0);
    InputStream in = new FileInputStream(FileDescriptor.in);
    int code = run(new Terminal(program, in, out, err, columns, new Secrets()), args);
    // Nothing is left to be done, and an orderly exit takes its time.
    Runtime.getRuntime().halt(code);
  }

  private static PrintStream stream(FileDescriptor descriptor) {
    return new PrintStream(
        new BufferedOutputStream(new FileOutputStream(descriptor), 8192),
        false,
        StandardCharsets.UTF_8);
  }

  /** As {@link #run(String, String[], PrintStream, PrintStream)}, called {@code imago}. */
  public static int run(String[] args, PrintStream out, PrintStream err) {
    return run("imago", args, out, err);
  }

  /** Runs one command that has nothing to read. */
  public static int run(String program, String[] args, PrintStream out, PrintStream err) {
    return run(program, args, InputStream.nullInputStream(), out, err);
  }

  /**
   * Runs one command. Both streams are flushed at its end.
   *
   * @param program the name that messages use for this program
   * @param in what a command that asks for its input reads
   * @return the exit code
   */
  public static int run(
      String program, String[] args, InputStream in, PrintStream out, PrintStream err) {
    return run(new Terminal(program, in, out, err, 0, new Secrets()), args);
  }

  private static int run(Terminal terminal, String[] args) {
    Safety.begin(terminal.isImago());
    ThrottleGroups.begin();
    int code;
    try {
      code = dispatch(terminal, args);
    } catch (UsageException e) {
      terminal.error(e.getMessage());
      if (terminal.isImago() && !e.nearest().isEmpty()) {
        terminal.note("hint: did you mean '" + e.nearest() + "'?");
      }
      terminal.note("Try '" + terminal.program() + " --help' for more information");
      code = 1;
    } catch (Throwable e) {
      if (stopped) {
        terminal.error("interrupted");
        return end(terminal, Signals.STOPPED);
      }
      Failure failure = Errors.failure(e);
      terminal.error(failure.getMessage());
      String advice = terminal.isImago() ? Advice.on(failure) : "";
      if (!advice.isEmpty()) {
        terminal.note("hint: " + advice);
      }
      code = failure.exitCode();
    }
    return end(terminal, code);
  }

  private static int end(Terminal terminal, int code) {
    terminal.secrets().close();
    terminal.out().flush();
    terminal.err().flush();
    return code;
  }

  private static int dispatch(Terminal terminal, String[] args) throws Exception {
    if (terminal.program().equals("qemu-io")) {
      return IoCommand.run(terminal, args);
    }
    GetOpt options =
        new GetOpt(
            args,
            0,
            false,
            Option.flag('h', "help"),
            Option.flag('V', "version"),
            new Option('T', "trace", true));
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("trace")) {
        if (options.value().equals("help")) {
          return 0; // the list of events is empty
        }
        Tracing.accept(terminal, options.value());
        continue;
      }
      terminal.print(option.equals("help") ? Help.general(terminal) : version(terminal));
      return 0;
    }
    List<String> operands = options.operands();
    if (operands.isEmpty()) {
      if (args.length > 0) {
        return 0; // "--" alone: nothing is asked for, as qemu-img sees it
      }
      throw new UsageException("Not enough arguments");
    }
    String command = operands.getFirst();
    String[] rest = operands.subList(1, operands.size()).toArray(new String[0]);
    return switch (command) {
      case "amend" -> AmendCommand.run(terminal, rest);
      case "bench" -> printed(terminal, BenchCommand.run(terminal, rest));
      case "bitmap" -> BitmapCommand.run(terminal, rest);
      case "check" -> printed(terminal, CheckCommand.run(terminal, rest));
      case "commit" -> CommitCommand.run(terminal, rest);
      case "compact" -> CompactCommand.run(terminal, rest);
      case "compare" -> printed(terminal, CompareCommand.run(terminal, rest));
      case "convert" -> ConvertCommand.run(terminal, rest);
      case "create" -> CreateCommand.run(terminal, rest);
      case "dd" -> DdCommand.run(terminal, rest);
      case "info" -> printed(terminal, InfoCommand.run(terminal, rest));
      case "inspect" -> printed(terminal, InspectCommand.run(terminal, rest));
      case "io" -> IoCommand.run(terminal, rest);
      case "map" -> printed(terminal, MapCommand.run(terminal, rest));
      case "measure" -> printed(terminal, MeasureCommand.run(terminal, rest));
      case "rebase" -> RebaseCommand.run(terminal, rest);
      case "resize" -> ResizeCommand.run(terminal, rest);
      case "serve" -> ServeCommand.run(terminal, rest);
      case "snapshot" -> SnapshotCommand.run(terminal, rest);
      default -> {
        if (terminal.isImago()) {
          yield Extras.run(terminal, command, rest);
        }
        throw new UsageException("Command not found: " + command);
      }
    };
  }

  /** For commands that do nothing but tell: what nobody could be told was not done. */
  private static int printed(Terminal terminal, int code) throws Failure {
    if (terminal.out().checkError()) {
      throw new Failure("standard output: could not be written");
    }
    return code;
  }

  /**
   * Two lines. Under QEMU's name the level of its command line comes first, for who asks for it.
   */
  static String version(Terminal terminal) {
    String ours =
        terminal.program().startsWith("qemu-") ? QEMU_LEVEL + " (imago " + VERSION + ")" : VERSION;
    return terminal.program()
        + " version "
        + ours
        + "\nCopyright (c) 2026 the Imago for Java developers. MIT license\n";
  }
}
