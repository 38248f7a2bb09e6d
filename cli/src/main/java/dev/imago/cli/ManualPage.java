package dev.imago.cli;

import java.util.List;

/** Writes manual pages (section 1, in the language of {@code man}) from the help texts. */
final class ManualPage {
  private ManualPage() {}

  /** The page of everything. */
  static String general() {
    StringBuilder text = begin("imago", "virtual disk images: qcow2 above all");
    text.append(".SH SYNOPSIS\n.B imago\n[\\-\\-safe] COMMAND [OPTIONS] ...\n");
    text.append(".SH DESCRIPTION\nImago takes what\n.BR qemu\\-img (1)\n");
    text.append("takes, prints what it prints, and ends with its exit codes.\n.SH COMMANDS\n");
    for (HelpText command : Help.texts()) {
      text.append(".TP\n.BR imago\\-").append(escape(command.command())).append(" (1)\n");
      text.append(line(command.summary()));
    }
    for (String topic : Help.TOPICS) {
      List<String> lines = Help.topic(topic).lines().toList();
      text.append(".SH ").append(escape(lines.getFirst().toUpperCase(java.util.Locale.ROOT)));
      text.append("\n.nf\n");
      for (String each : lines.subList(1, lines.size())) {
        text.append(each.isBlank() ? ".sp\n" : line(each));
      }
      text.append(".fi\n");
    }
    return text.toString();
  }

  /** The page of a command. */
  static String of(HelpText command) {
    StringBuilder text = begin("imago-" + command.command(), decapitalized(command.summary()));
    text.append(".SH SYNOPSIS\n.B imago ").append(escape(command.syntax())).append('\n');
    text.append(".SH DESCRIPTION\n").append(line(command.summary()));
    for (String each : command.notes().lines().toList()) {
      text.append(line(each));
    }
    text.append(".SH OPTIONS\n");
    for (HelpText.Described option : command.options()) {
      text.append(".TP\n.B ").append(escape(option.head())).append('\n');
      text.append(line(option.description()));
    }
    text.append(".TP\n.B \\-h, \\-\\-help\nprint this help and exit\n");
    text.append(".TP\n.B \\-\\-safe\nimages are from strangers: open nothing that they name\n");
    return text.append(".SH SEE ALSO\n.BR imago (1)\n").toString();
  }

  private static StringBuilder begin(String name, String summary) {
    return new StringBuilder(".TH ")
        .append(escape(name.toUpperCase(java.util.Locale.ROOT)))
        .append(" 1 \"\" \"imago ")
        .append(escape(Main.VERSION))
        .append("\"\n.SH NAME\n")
        .append(escape(name))
        .append(" \\- ")
        .append(line(summary));
  }

  private static String decapitalized(String text) {
    return text.substring(0, 1).toLowerCase(java.util.Locale.ROOT) + text.substring(1);
  }

  private static String line(String text) {
    String escaped = escape(text);
    boolean control = escaped.startsWith(".") || escaped.startsWith("'");
    return (control ? "\\&" : "") + escaped + "\n";
  }

  private static String escape(String text) {
    return text.replace("\\", "\\e").replace("-", "\\-");
  }
}
