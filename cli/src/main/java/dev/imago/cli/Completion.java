package dev.imago.cli;

import java.util.List;

/** Writes what shells need to complete our command lines, from the help texts. */
final class Completion {
  private static final String MORE = "help completion man";

  private Completion() {}

  /** The script for a shell. */
  static String of(String shell) throws Failure {
    List<HelpText> commands = Help.texts();
    return switch (shell) {
      case "bash" -> bash(commands);
      case "zsh" -> zsh(commands);
      case "fish" -> fish(commands);
      default ->
          throw new Failure(
              "There is no completion for '" + shell + "'; but for bash, zsh and fish");
    };
  }

  private static String bash(List<HelpText> commands) {
    StringBuilder text = new StringBuilder();
    text.append("# bash completion for imago, made by: imago completion bash\n");
    text.append(
        """
        _imago() {
          local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= i
          # Bash takes --output=json for three words.
          if [[ $cur == = ]]; then
            cur=
          elif [[ $prev == = ]]; then
            prev=${COMP_WORDS[COMP_CWORD - 2]}
          fi
          for ((i = 1; i < COMP_CWORD; i++)); do
            if [[ ${COMP_WORDS[i]} != -* ]]; then
              command=${COMP_WORDS[i]}
              break
            fi
          done
          COMPREPLY=()
          case "$command $prev" in
        """);
    for (HelpText command : commands) {
      for (HelpText.Described option : command.options()) {
        for (HelpText.Name name : option.names()) {
          if (!name.choices().isEmpty()) {
            text.append("    \"").append(command.command()).append(' ').append(name.name());
            text.append("\") COMPREPLY=($(compgen -W '");
            text.append(String.join(" ", name.choices())).append("' -- \"$cur\")); return ;;\n");
          }
        }
      }
    }
    text.append(
        """
            "help "*)
              COMPREPLY=($(compgen -W '%s' -- "$cur"))
              return
              ;;
            " "*)
              COMPREPLY=($(compgen -W '%s' -- "$cur"))
              return
              ;;
            "completion "*)
              COMPREPLY=($(compgen -W 'bash zsh fish' -- "$cur"))
              return
              ;;
          esac
          [[ $cur == -* ]] || return
          case $command in
        """
            .formatted(
                names(commands) + " " + String.join(" ", Help.TOPICS),
                names(commands) + " " + MORE + " --help --version --safe"));
    for (HelpText command : commands) {
      text.append("    ").append(command.command()).append(") i='--help --safe");
      for (HelpText.Described option : command.options()) {
        option.names().forEach(name -> text.append(' ').append(name.name()));
      }
      text.append("' ;;\n");
    }
    return text.append(
            """
                *) return ;;
              esac
              COMPREPLY=($(compgen -W "$i" -- "$cur"))
            }
            complete -o default -o bashdefault -F _imago imago
            """)
        .toString();
  }

  private static String names(List<HelpText> commands) {
    return String.join(" ", commands.stream().map(HelpText::command).toList());
  }

  private static String zsh(List<HelpText> commands) {
    StringBuilder text = new StringBuilder("#compdef imago\n");
    text.append("# zsh completion for imago, made by: imago completion zsh\n");
    text.append("local -a commands\ncommands=(\n");
    for (HelpText command : commands) {
      text.append("  '").append(command.command()).append(':');
      text.append(zshText(command.summary())).append("'\n");
    }
    text.append("  'help:explain a command or a topic'\n");
    text.append("  'completion:print the completion for a shell'\n");
    text.append("  'man:print a manual page'\n)\n");
    text.append(
        """
        if (( CURRENT == 2 )); then
          _describe command commands
          return
        fi
        case $words[2] in
        """);
    for (HelpText command : commands) {
      text.append("  ").append(command.command()).append(")\n    _arguments \\\n");
      for (HelpText.Described option : command.options()) {
        for (HelpText.Name name : option.names()) {
          text.append("      '").append(name.name());
          text.append(name.hasValue() && name.isLong() ? "=[" : "[");
          text.append(zshText(option.description())).append(']');
          if (name.hasValue()) {
            text.append(':').append(zshText(name.value().split("[|=,]", 2)[0])).append(':');
            text.append(
                name.choices().isEmpty()
                    ? name.isFile() ? "_files" : " "
                    : "(" + String.join(" ", name.choices()) + ")");
          }
          text.append("' \\\n");
        }
      }
      text.append("      '--help[print this help]' '--safe[trust no image]' '*:file:_files' ;;\n");
    }
    return text.append("  completion) _values shell bash zsh fish ;;\n")
        .append("  help | man) _describe command commands ;;\nesac\n")
        .toString();
  }

  /** For use in single quotes, in a specification of {@code _arguments}. */
  private static String zshText(String text) {
    return text.replace("\\", "\\\\")
        .replace("'", "'\\''")
        .replace("[", "\\[")
        .replace("]", "\\]")
        .replace(":", "\\:");
  }

  private static String fish(List<HelpText> commands) {
    StringBuilder text = new StringBuilder();
    text.append("# fish completion for imago, made by: imago completion fish\n");
    String first = "complete -c imago -n __fish_use_subcommand -f";
    for (HelpText command : commands) {
      text.append(first).append(" -a ").append(command.command());
      text.append(" -d '").append(fishText(command.summary())).append("'\n");
    }
    text.append(first).append(" -a '").append(MORE).append("'\n");
    text.append("complete -c imago -l safe -d 'trust no image'\n");
    text.append("complete -c imago -s h -l help -d 'print help'\n");
    for (HelpText command : commands) {
      for (HelpText.Described option : command.options()) {
        for (HelpText.Name name : option.names()) {
          text.append("complete -c imago -n '__fish_seen_subcommand_from ");
          text.append(command.command()).append(name.isLong() ? "' -l " : "' -s ");
          text.append(name.name().substring(name.isLong() ? 2 : 1));
          if (!name.choices().isEmpty()) {
            text.append(" -x -a '").append(String.join(" ", name.choices())).append('\'');
          } else if (name.hasValue()) {
            text.append(name.isFile() ? " -r" : " -x");
          }
          text.append(" -d '").append(fishText(option.description())).append("'\n");
        }
      }
    }
    return text.append("complete -c imago -n '__fish_seen_subcommand_from completion' -f")
        .append(" -a 'bash zsh fish'\n")
        .toString();
  }

  private static String fishText(String text) {
    return text.replace("\\", "\\\\").replace("'", "\\'");
  }
}
