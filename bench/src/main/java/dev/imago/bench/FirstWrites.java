package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
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

  private final Path folder;
  private final Path image;
  private final List<String> java;
  private final int rounds;
  private final long from;

  FirstWrites(Path folder, Inputs inputs, List<String> java, int rounds) throws IOException {
    this.folder = folder;
    this.image = inputs.used();
    this.java = java;
    this.rounds = rounds;
    this.from = inputs.usedBytes();
  }

  String report() throws IOException {
    System.err.println("measuring first writes");
    long[] theirWrites = new long[rounds];
    long[] ourWrites = new long[rounds];
    long[] ours = new long[rounds];
    var theirProcesses = new Samples();
    var ourProcesses = new Samples();
    for (int i = -1; i < rounds; i++) {
      long at = from + 2L * (i + 1) * STRIDE;
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
      if (i >= 0) {
        theirProcesses.add(their);
        ourProcesses.add(our);
        theirWrites[i] = (long) (1e9 / Double.parseDouble(perSecond.group(1)));
        ourWrites[i] = 1000 * Long.parseLong(micros[1]);
        for (String each : micros) {
          ours[i] += 1000 * Long.parseLong(each);
        }
      }
    }
    Path err = folder.resolve("err");
    Child.Cost check =
        Child.run(List.of("qemu-img", "check", "-q", image.toString()), folder.resolve("out"), err);
    String found = check.exitCode() == 0 ? "finds nothing" : "finds: " + Files.readString(err);
    return """
    First write of 4 KiB into an image with %d GiB in use, ms, median (minimum): \
    the write alone, as each program's own clock says, qemu-io %s, imago %s; \
    open, write and close inside the JVM %s; whole processes, qemu-io %s, imago with its JVM %s. \
    `qemu-img check` afterwards %s.
    """
        .formatted(
            from >> 30,
            pair(theirWrites),
            pair(ourWrites),
            pair(ours),
            pair(theirProcesses),
            pair(ourProcesses),
            found);
  }

  private static String pair(long[] nanos) {
    return pair(Samples.quantile(nanos, 0.5) / 1e6, Samples.quantile(nanos, 0) / 1e6);
  }

  private static String pair(Samples samples) {
    return pair(samples.medianWall(), samples.leastWall());
  }

  private static String pair(double median, double least) {
    return String.format(Locale.ROOT, "%s (%s)", Report.digits(median), Report.digits(least));
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
