package dev.imago.cli;

import java.util.List;

/** Commands about the command line itself, which qemu-img has not. */
final class Extras {
  static final List<String> COMMANDS = List.of("help", "completion", "man");

  private Extras() {}

  /**
   * Runs one.
   *
   * @param operands what follows the command
   * @throws UsageException if there is no such command either
   */
  static int run(Terminal terminal, String command, String[] operands) throws Exception {
    String operand = operands.length > 0 ? operands[0] : "";
    if (COMMANDS.contains(command) && (operand.equals("-h") || operand.equals("--help"))) {
      terminal.print(Help.topic("help"));
      return 0;
    }
    switch (command) {
      case "help" -> help(terminal, operand);
      case "completion" -> terminal.print(Completion.of(operand.isEmpty() ? "bash" : operand));
      case "man" -> terminal.print(manual(operand));
      default ->
          throw new UsageException(
              "Command not found: " + command, Nearest.of(command, Nearest.commands()));
    }
    return 0;
  }

  /** A page; or with {@code --list} the commands that have one, for whoever installs them. */
  private static String manual(String about) throws UsageException {
    if (about.isEmpty()) {
      return ManualPage.general();
    }
    if (about.equals("--list")) {
      return String.join("\n", Help.COMMANDS) + "\n";
    }
    requireCommand(about);
    return ManualPage.of(Help.text(about));
  }

  private static void help(Terminal terminal, String about) throws UsageException {
    if (about.isEmpty()) {
      terminal.print(Help.general(terminal));
    } else if (Help.TOPICS.contains(about)) {
      terminal.print(Help.topic(about));
    } else {
      requireCommand(about);
      Help.command(terminal, about);
    }
  }

  private static void requireCommand(String word) throws UsageException {
    if (!Help.COMMANDS.contains(word)) {
      List<String> known = Nearest.commands();
      known.addAll(Help.TOPICS);
      throw new UsageException(
          "There is no help for '" + word + "'; topics: " + String.join(" ", Help.TOPICS),
          Nearest.of(word, known));
    }
  }
}
