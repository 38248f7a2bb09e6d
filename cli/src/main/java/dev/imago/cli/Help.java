package dev.imago.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * The texts of {@code --help}. Each command has a file below {@code help/}: one line of syntax, one
 * that says what it does, then its options.
 */
final class Help {
  /** Every command, in the order of the help. */
  static final List<String> COMMANDS =
      List.of(
          "amend",
          "bench",
          "bitmap",
          "check",
          "commit",
          "compact",
          "compare",
          "convert",
          "create",
          "dd",
          "info",
          "inspect",
          "io",
          "map",
          "measure",
          "rebase",
          "resize",
          "serve",
          "snapshot");

  /** What {@code help TOPIC} explains besides commands. */
  static final List<String> TOPICS =
      List.of("environment", "exit-codes", "formats", "help", "names", "progress", "safe", "sizes");

  private Help() {}

  /** The text on a topic; its first line is a title. */
  static String topic(String topic) {
    return resource("topic-" + topic);
  }

  /** A command's text, taken apart. */
  static HelpText text(String command) {
    return HelpText.parse(command, resource(command));
  }

  /** All of them. */
  static List<HelpText> texts() {
    return COMMANDS.stream().map(Help::text).toList();
  }

  /** The help for everything. */
  static String general(Terminal terminal) {
    String program = terminal.program();
    StringBuilder text = new StringBuilder(Main.version(terminal));
    text.append("usage: ")
        .append(program)
        .append(" [standard options] command [command options]\n");
    text.append("Virtual disk images: qcow2 above all\n\n");
    text.append("    '-h', '--help'       display this help and exit;");
    text.append(" behind a command: help for it\n");
    text.append("    '-V', '--version'    output version information and exit\n");
    text.append("    '-T', '--trace'      accepted: there are no events to be traced\n");
    if (terminal.isImago()) {
      text.append(
          "    '--safe'             images are from strangers: open nothing that they name");
      text.append(" (or IMAGO_SAFE=1)\n");
    }
    text.append('\n');
    text.append("Command syntax:\n");
    for (String command : COMMANDS) {
      text.append("  ").append(syntax(resource(command))).append('\n');
    }
    if (terminal.isImago()) {
      text.append("  help [command | topic]; topics: ").append(String.join(" ", TOPICS));
      text.append("\n  completion bash|zsh|fish\n  man [command]\n");
    }
    return text.append('\n')
        .append(resource("parameters"))
        .append("\nSupported formats: qcow2 raw\n")
        .toString();
  }

  /** Prints the help for one command; returns the exit code. */
  static int command(Terminal terminal, String command) {
    String text = resource(command);
    String syntax = syntax(text);
    String rest = text.substring(syntax.length() + 1);
    int line = rest.indexOf('\n') + 1;
    // Under the name qemu-io there is only one command, and it is not named.
    boolean alone = terminal.program().equals("qemu-io");
    String shown = alone ? syntax.substring(command.length() + 1) : syntax;
    terminal.print("Usage:\n  " + terminal.program() + " " + shown + "\n\n");
    terminal.print(rest.substring(0, line));
    terminal.print("\nArguments:\n  -h, --help\n     print this help and exit\n");
    terminal.print(rest.substring(line));
    return 0;
  }

  /** More about a command of {@code io}; empty if its usage says it all. */
  static String ofIoVerb(String verb) {
    String all = resource("io-commands");
    String head = "== " + verb + "\n";
    int start = all.indexOf(head);
    if (start < 0) {
      return "";
    }
    int end = all.indexOf("\n== ", start);
    return "\n" + all.substring(start + head.length(), end < 0 ? all.length() : end + 1) + "\n";
  }

  private static String syntax(String text) {
    return text.substring(0, text.indexOf('\n'));
  }

  private static String resource(String name) {
    try (InputStream in = Help.class.getResourceAsStream("help/" + name + ".txt")) {
      if (in == null) {
        throw new IllegalStateException("no help for " + name);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
