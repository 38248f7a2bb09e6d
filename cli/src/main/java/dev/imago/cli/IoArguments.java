package dev.imago.cli;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The arguments of one command of {@code io}, as C's {@code getopt} reads them: letters may be
 * clustered and may stand behind operands, and {@code --} ends them.
 */
final class IoArguments {
  private final IoVerb verb;
  private final Terminal terminal;

  /** The command's name as it was typed, then its arguments. */
  private final List<String> words;

  private final Map<Character, String> options = new HashMap<>();
  private final List<String> operands = new ArrayList<>();

  IoArguments(IoVerb verb, Terminal terminal, List<String> words) {
    this.verb = verb;
    this.terminal = terminal;
    this.words = words;
  }

  /** Everything behind the command's name, not taken apart. */
  List<String> all() {
    return words.subList(1, words.size());
  }

  /**
   * Takes the options out.
   *
   * @param letters the letters that are known; a colon behind one says that a value follows
   * @return this
   */
  IoArguments parse(String letters) throws IoFailure {
    List<String> rest = all();
    for (int i = 0; i < rest.size(); i++) {
      String word = rest.get(i);
      if (word.equals("--")) {
        operands.addAll(rest.subList(i + 1, rest.size()));
        break;
      }
      if (word.length() < 2 || word.charAt(0) != '-') {
        operands.add(word);
        continue;
      }
      for (int at = 1; at < word.length(); at++) {
        char letter = word.charAt(at);
        int known = letter == ':' ? -1 : letters.indexOf(letter);
        if (known < 0) {
          throw wrong("invalid option -- '" + letter + "'");
        }
        if (known + 1 == letters.length() || letters.charAt(known + 1) != ':') {
          options.put(letter, "");
          continue;
        }
        if (at + 1 < word.length()) {
          options.put(letter, word.substring(at + 1));
        } else if (++i < rest.size()) {
          options.put(letter, rest.get(i));
        } else {
          throw wrong("option requires an argument -- '" + letter + "'");
        }
        break;
      }
    }
    return this;
  }

  private IoFailure wrong(String problem) {
    terminal.note(words.getFirst() + ": " + problem);
    return usage();
  }

  /** The command is used wrongly: its usage is what there is to say. */
  IoFailure usage() {
    return IoFailure.said(verb.usage());
  }

  boolean has(char letter) {
    return options.containsKey(letter);
  }

  /** The option's last value, or null. */
  @Nullable String value(char letter) {
    return options.get(letter);
  }

  /** What is neither option nor value. */
  List<String> operands() {
    return operands;
  }

  /** The operands, which must be at least so many. */
  List<String> operands(int least, int most) throws IoFailure {
    if (operands.size() < least || operands.size() > most) {
      throw usage();
    }
    return operands;
  }

  /** An offset or a length. */
  long number(String text) throws IoFailure {
    return IoNumber.parse(terminal, text);
  }
}
