package dev.imago.cli;

import java.io.IOException;
import java.util.List;

/**
 * One command of {@code io}.
 *
 * @param name what it is called
 * @param alias a shorter name, or empty
 * @param arguments its arguments as its help shows them
 * @param summary what it does, in one line
 * @param least the smallest number of arguments, options included
 * @param most the largest, or -1 if there is no limit
 * @param needs what must be open for it
 * @param body what it does
 */
record IoVerb(
    String name,
    String alias,
    String arguments,
    String summary,
    int least,
    int most,
    Needs needs,
    Body body) {

  /** What a command is for. */
  enum Needs {
    NOTHING,
    /** An open image. */
    IMAGE,
    /** An open image that is not read-only. */
    WRITABLE_IMAGE
  }

  /** What a command does. */
  interface Body {
    void run(IoSession io, IoArguments arguments) throws IoFailure, Failure, IOException;
  }

  /** The line that tells how it is used. */
  String usage() {
    return name + (arguments.isBlank() ? arguments : " " + arguments) + " -- " + summary;
  }

  /** Refuses a wrong number of arguments. */
  void requireCount(List<String> words) throws IoFailure {
    int count = words.size() - 1;
    if (count >= least && (most < 0 || count <= most)) {
      return;
    }
    String expected =
        most < 0
            ? "at least " + least
            : most == least ? String.valueOf(least) : "between " + least + " and " + most;
    throw IoFailure.complained(
        "bad argument count "
            + count
            + " to "
            + words.getFirst()
            + ", expected "
            + expected
            + " arguments");
  }
}
