package dev.imago.bench;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * One thing that {@code qemu-img} and Imago do, by the same arguments.
 *
 * @param shortRun whether the start of the program is most of it
 * @param goal what Imago has to show
 * @param tunings what {@code qemu-img} is given besides, each in a run of its own: the fastest
 *     counts
 * @param output what it makes
 * @param words the command and its arguments without what is written
 */
record Case(
    String name,
    boolean shortRun,
    Goal goal,
    List<List<String>> tunings,
    Made output,
    Words words) {

  /** Arguments, which make the inputs that they name, or find them made. */
  interface Words {
    List<String> make() throws IOException;
  }

  /** A command line: the program, the command, options for it, its arguments. */
  static List<String> command(List<String> program, List<String> tuning, List<String> words) {
    List<String> all = new ArrayList<>(program);
    all.add(words.getFirst());
    all.addAll(tuning);
    all.addAll(words.subList(1, words.size()));
    return all;
  }
}
