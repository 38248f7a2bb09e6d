package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The first allocating write into an image with much in use: every round, each program opens the
 * image, writes 4 KiB where nothing is, and closes it.
 */
final class FirstWrites {
  /** Each write meets an L2 table of its own, as the first one did. */
  private static final long STRIDE = 512L << 20;

  private static final Pattern OPERATIONS = Pattern.compile("([0-9.]+) ops/sec");

  private static final Goal GOAL = Goal.wall(1.5);

  private final Path folder;
  private final Inputs inputs;
  private final List<String> java;
  private final int rounds;
  private final long from;

  private final Samples theirWrites = new Samples();
  private final Samples ourWrites = new Samples();
  private final Samples ours = new Samples();
  private final Samples theirProcesses = new Samples();
  private final Samples ourProcesses = new Samples();

  FirstWrites(Path folder, Inputs inputs, List<String> java, int rounds) {
    this.folder = folder;
    this.inputs = inputs;
    this.java = java;
    this.rounds = rounds;
    this.from = inputs.usedBytes();
  }

  /** Measures, and says it in Markdown. */
  String report() throws IOException {
    Path image = inputs.usedCopy();
    for (int i = -1; i < rounds; i++) {
      round(image, i);
    }
    Path err = folder.resolve("err");
    Child.Cost check =
        Child.run(List.of("qemu-img", "check", "-q", image.toString()), folder.resolve("out"), err);
    String found = check.exitCode() == 0 ? "finds nothing" : "finds: " + Files.readString(err);
    Files.delete(image);
    return """
    | first write of 4 KiB into an image with %d GiB in use | qemu-io, ms | imago, ms | \
    wall, qemu-io ÷ imago | at least |
    |---|---|---|---|---|
    """
            .formatted(from >> 30)
        + row("the write alone, as each program's own clock says", theirWrites, ourWrites, GOAL)
        + row("the write alone, against open, write and close", theirWrites, ours, Goal.NONE)
        + row("whole processes", theirProcesses, ourProcesses, Goal.NONE)
        + "\n`qemu-img check` afterwards "
        + found
        + ".\n";
  }

  /** Of the row without the programs' start. */
  Chart.Bar bar() {
    String name = "first write into an image with " + (from >> 30) + " GiB in use";
    return new Chart.Bar(name, theirWrites.medianWall() / ourWrites.medianWall(), GOAL);
  }

  private static String row(String name, Samples theirs, Samples ours, Goal goal) {
    double ratio = theirs.medianWall() / ours.medianWall();
    return Report.row(
        name, Report.spread(theirs), Report.spread(ours), Report.ratio(ratio), goal.cell(ratio, 0));
  }

  /** Round -1 is not counted. */
  private void round(Path image, int number) throws IOException {
    long at = from + 2L * (number + 1) * STRIDE;
    List<String> theirs = new ArrayList<>(List.of("qemu-io", "-t", "unsafe", "-f", "qcow2"));
    theirs.addAll(List.of("-c", "write -P 7 " + at + " 4k", image.toString()));
    Child.Cost their = run(theirs);
    Matcher perSecond = OPERATIONS.matcher(printed());
    if (!perSecond.find()) {
      throw new IOException("qemu-io said: " + printed());
    }
    List<String> words = new ArrayList<>(java);
    words.addAll(List.of(image.toString(), String.valueOf(at + STRIDE)));
    Child.Cost our = run(words);
    String[] micros = printed().strip().split(" ", -1);
    if (number < 0) {
      return;
    }
    theirProcesses.add(their);
    ourProcesses.add(our);
    theirWrites.add((long) (1e9 / Double.parseDouble(perSecond.group(1))));
    ourWrites.add(1000 * Long.parseLong(micros[1]));
    long sum = 0;
    for (String each : micros) {
      sum += 1000 * Long.parseLong(each);
    }
    ours.add(sum);
  }

  private Child.Cost run(List<String> command) throws IOException {
    Path err = folder.resolve("err");
    Child.Cost cost = Child.run(command, folder.resolve("out"), err);
    if (cost.exitCode() != 0) {
      throw new IOException(String.join(" ", command) + ": " + Files.readString(err));
    }
    return cost;
  }

  private String printed() throws IOException {
    return Files.readString(folder.resolve("out"));
  }
}
