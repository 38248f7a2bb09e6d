package dev.imago.cli;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Reads options from a command line as GNU {@code getopt_long} does, for scripts rely on it:
 * options may stand behind operands, letters may be clustered ({@code -pq}), a value may be glued
 * to its letter ({@code -Oqcow2}, {@code -ocluster_size=4k}), a long name may be cut short where
 * that is unambiguous, and {@code --} ends the options. Every command has {@code --safe}.
 * docs/decisions/0030 says why this is not a library.
 */
final class GetOpt {
  private final String[] arguments;
  private final Option[] options;
  private final boolean mixed;
  private final List<String> operands = new ArrayList<>();
  private int next;

  /** Where in {@code arguments[next]} the next letter of a cluster stands; 0 outside of one. */
  private int inCluster;

  private @Nullable String value;

  /**
   * Starts at {@code arguments[from]}.
   *
   * @param mixed false to stop at the first operand
   */
  GetOpt(String[] arguments, int from, boolean mixed, Option... options) {
    this.arguments = arguments;
    this.next = from;
    this.mixed = mixed;
    this.options = options;
  }

  /**
   * Moves to the next option.
   *
   * @return its name, or null if there are no more; then all operands are known
   * @throws UsageException for an option that is not known, ambiguous or lacks its value
   */
  @Nullable String next() throws UsageException {
    value = null;
    if (inCluster > 0) {
      return letter();
    }
    while (next < arguments.length) {
      String argument = arguments[next];
      if (argument.equals("--")) {
        next++;
        takeOperands();
      } else if (Safety.isOption(argument)) {
        next++;
      } else if (argument.startsWith("--")) {
        next++;
        return longOption(argument);
      } else if (argument.length() > 1 && argument.charAt(0) == '-') {
        inCluster = 1;
        return letter();
      } else if (mixed) {
        operands.add(argument);
        next++;
      } else {
        takeOperands();
      }
    }
    return null;
  }

  private void takeOperands() {
    while (next < arguments.length) {
      operands.add(arguments[next++]);
    }
  }

  private String longOption(String argument) throws UsageException {
    int equals = argument.indexOf('=');
    String name = argument.substring(2, equals < 0 ? argument.length() : equals);
    Option found = null;
    for (Option option : options) {
      if (!option.hasLongForm() || !option.name().startsWith(name)) {
        continue;
      }
      if (option.name().length() == name.length()) {
        found = option;
        break;
      }
      if (found != null) {
        throw unrecognized(argument);
      }
      found = option;
    }
    if (found == null || (equals >= 0 && !found.takesValue())) {
      throw unrecognized(argument);
    }
    if (equals >= 0) {
      value = argument.substring(equals + 1);
    } else if (found.takesValue()) {
      value = following(argument);
    }
    return found.name();
  }

  private String letter() throws UsageException {
    String cluster = arguments[next];
    char letter = cluster.charAt(inCluster++);
    boolean last = inCluster == cluster.length();
    if (last) {
      inCluster = 0;
      next++;
    }
    for (Option option : options) {
      if (option.letter() == letter) {
        if (option.takesValue()) {
          value = last ? following(cluster) : cluster.substring(inCluster);
          if (!last) {
            inCluster = 0;
            next++;
          }
        }
        return option.name();
      }
    }
    throw unrecognized(cluster);
  }

  private String following(String argument) throws UsageException {
    if (next == arguments.length) {
      throw new UsageException("missing argument for option '" + argument + "'");
    }
    return arguments[next++];
  }

  private UsageException unrecognized(String argument) {
    String message = "unrecognized option '" + argument + "'";
    if (!argument.startsWith("--")) {
      return new UsageException(message);
    }
    List<String> known = new ArrayList<>();
    for (Option option : options) {
      if (option.hasLongForm()) {
        known.add("--" + option.name());
      }
    }
    int equals = argument.indexOf('=');
    String word = equals < 0 ? argument : argument.substring(0, equals);
    return new UsageException(message, Nearest.of(word, known));
  }

  /** The value of the option that {@link #next} returned; empty if it takes none. */
  String value() {
    return value == null ? "" : value;
  }

  /** What is neither option nor value. Complete once {@link #next} has returned null. */
  List<String> operands() {
    return operands;
  }

  /** The name of the only image file of a command that takes one. */
  FileName onlyFile() throws UsageException {
    if (operands.size() != 1) {
      throw new UsageException("Expecting one image file name");
    }
    return FileName.of(operands.getFirst());
  }

  /** The same for a command that knows {@code --image-opts}. */
  Source onlySource(boolean imageOpts, @Nullable String format) throws UsageException, Failure {
    return Source.of(onlyFile().typed(), imageOpts, format);
  }

  /**
   * Refuses an option that qemu-img has and this program does not.
   *
   * @param option what {@link #next} returned
   */
  static Failure notSupported(String option) {
    return new Failure(
        "option '" + (option.length() == 1 ? "-" : "--") + option + "' is not supported yet");
  }
}
