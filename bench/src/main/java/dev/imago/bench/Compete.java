package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Runs QEMU's tools and Imago's command line in turn on the same inputs, checks that both made the
 * same of them, and prints what each took as Markdown tables.
 *
 * <p>Each round runs every program once; the order is another one each time. What a program writes
 * is deleted before and after each run and the disk is let come to rest, outside the measured time:
 * otherwise a program pays for what the one before it wrote. Before a long run that makes a file,
 * memory is full ({@link FullMemory}). An empty Java program, started just as Imago is, runs in
 * every round of the short cases.
 */
final class Compete {
  private final Options options;
  private final Inputs inputs;
  private final FullMemory memory;
  private final StringBuilder report = new StringBuilder();
  private final List<Chart.Bar> bars = new ArrayList<>();

  private Compete(Options options) {
    this.options = options;
    this.inputs = new Inputs(options.folder, options.quick);
    this.memory = new FullMemory(options.folder.resolve("hole"));
  }

  /** What the script hands over, and what the user asked for. */
  private static final class Options {
    Path folder = Path.of("");
    List<String> imago = List.of();
    List<String> empty = List.of();
    List<String> java = List.of();
    int rounds;
    double seconds = 2;
    boolean quick;
    Pattern only = Pattern.compile("");
    Optional<Path> page = Optional.empty();
  }

  public static void main(String[] args) throws IOException {
    Options options = new Options();
    for (int i = 0; i < args.length; i++) {
      switch (args[i]) {
        case "--dir" -> options.folder = Path.of(args[++i]);
        case "--imago" -> options.imago = List.of(args[++i]);
        case "--empty" -> options.empty = List.of(args[++i]);
        case "--java" -> options.java = Files.readAllLines(Path.of(args[++i]));
        case "--rounds" -> options.rounds = Integer.parseInt(args[++i]);
        case "--seconds" -> options.seconds = Double.parseDouble(args[++i]);
        case "--only" -> options.only = Pattern.compile(args[++i], Pattern.CASE_INSENSITIVE);
        case "--report" -> options.page = Optional.of(Path.of(args[++i]));
        case "--quick" -> options.quick = true;
        default -> throw new IllegalArgumentException(args[i]);
      }
    }
    new Compete(options).run();
  }

  private void run() throws IOException {
    say(Page.circumstances(options.folder, rounds(false), rounds(true), options.quick));
    List<Case> cases = Rows.of(inputs).stream().filter(row -> wanted(row.name())).toList();
    if (!cases.isEmpty()) {
      say("\n" + Report.HEADING);
    }
    for (Case which : cases) {
      System.err.println("measuring " + which.name());
      try {
        Report.Line line = measure(which);
        say(Report.row(line));
        bars.add(line.bar());
      } catch (IOException e) {
        System.err.println(e.getMessage());
        say(Report.failed(which.name()));
      }
    }
    part(
        "first write",
        () -> {
          var writes = new FirstWrites(options.folder, inputs, options.java, rounds(true));
          say("\n" + writes.report());
          bars.add(writes.bar());
        });
    part("in-process", () -> say("\n" + inProcess()));
    var settings =
        new NbdRows.Settings(options.folder, options.imago, rounds(false), options.seconds);
    bars.addAll(new NbdRows(settings, inputs).report(this::wanted, this::say));
    if (options.page.isPresent()) {
      Page.write(options.page.get(), report.toString(), Chart.svg(bars));
    }
  }

  /** Something that is measured and said. */
  private interface Part {
    void run() throws IOException;
  }

  /** If it fails, the others go on. */
  private void part(String name, Part part) {
    if (!wanted(name)) {
      return;
    }
    System.err.println("measuring " + name);
    try {
      part.run();
    } catch (IOException e) {
      System.err.println(e.getMessage());
      say("\n" + name + " **(failed)**\n");
    }
  }

  /** Markdown, as soon as it is known. */
  private void say(String markdown) {
    System.out.print(markdown);
    System.out.flush();
    report.append(markdown);
  }

  /** In a JVM of its own, with the compiler that a program with the library in it has. */
  private String inProcess() throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.add(InProcess.class.getName());
    command.addAll(List.of(inputs.random().toString(), inputs.randomQcow2().toString()));
    command.add(options.folder.toString());
    command.add(String.valueOf(rounds(true)));
    command.add(options.quick ? "10000" : "200000");
    Path out = options.folder.resolve("out");
    Path err = options.folder.resolve("err");
    if (Child.run(command, out, err).exitCode() != 0) {
      throw new IOException(String.join(" ", command) + ": " + Files.readString(err));
    }
    return Files.readString(out);
  }

  private boolean wanted(String name) {
    return options.only.matcher(name).find();
  }

  private int rounds(boolean shortRun) {
    if (options.rounds > 0) {
      return options.rounds;
    }
    if (options.quick) {
      return 3;
    }
    return shortRun ? 11 : 7;
  }

  private Report.Line measure(Case which) throws IOException {
    List<String> words = which.words().make();
    boolean fillsMemory = which.output() == Made.FILE && !which.shortRun() && !options.quick;
    List<Entrant> entrants = new ArrayList<>();
    for (List<String> tuning : which.tunings()) {
      List<String> command = Case.command(List.of("qemu-img"), tuning, words);
      entrants.add(new Entrant(String.join(" ", tuning), command, which.output(), fillsMemory));
    }
    List<String> ourCommand = Case.command(options.imago, List.of(), words);
    var imago = new Entrant("", ourCommand, which.output(), fillsMemory);
    entrants.add(imago);
    var empty = new Entrant("", options.empty, Made.NOTHING, false);
    if (which.shortRun()) {
      entrants.add(empty);
    }
    String note =
        Verdict.on(options.folder, inputs, entrants.getFirst().command, ourCommand, which.output());
    for (int round = 0; round < rounds(which.shortRun()); round++) {
      for (Entrant next : Samples.inTurn(entrants, round)) {
        next.samples.add(once(next));
      }
    }
    Entrant best = entrants.getFirst();
    for (Entrant other : entrants.subList(1, which.tunings().size())) {
      best = other.samples.medianWall() < best.samples.medianWall() ? other : best;
    }
    best.samples.peakKib(once(best, Child::peakKib));
    imago.samples.peakKib(once(imago, Child::peakKib));
    // The -c of bench is another one.
    if (words.contains("-c") && which.output() == Made.FILE) {
      note += sizes(best.samples.medianMadeMib(), imago.samples.medianMadeMib());
    }
    return new Report.Line(which, best.options, best.samples, imago.samples, empty.samples, note);
  }

  /** Of compressed files, which must not be longer for being made sooner. */
  private static String sizes(double theirMib, double ourMib) {
    String both = Report.digits(ourMib) + " MiB for " + Report.digits(theirMib);
    return ourMib > theirMib ? "**longer file: " + both + "**" : "file of " + both;
  }

  /** A program in a case, and what its runs have cost. */
  private record Entrant(
      String options, List<String> command, Made output, boolean fillsMemory, Samples samples) {
    Entrant(String options, List<String> command, Made output, boolean fillsMemory) {
      this(options, command, output, fillsMemory, new Samples());
    }
  }

  private Child.Cost once(Entrant entrant) throws IOException {
    Child.Cost cost = once(entrant, Child::run);
    if (cost.exitCode() != 0) {
      throw new IOException(String.join(" ", entrant.command) + " ended with " + cost.exitCode());
    }
    return cost;
  }

  /** A way to run a program and learn something of it. */
  private interface Measurement<T> {
    T run(List<String> command, Path out, Path err) throws IOException;
  }

  private <T> T once(Entrant entrant, Measurement<T> measurement) throws IOException {
    Path target = options.folder.resolve("target");
    Path out = options.folder.resolve("out");
    Path err = options.folder.resolve("err");
    Files.deleteIfExists(target);
    inputs.begin(entrant.output, target);
    List<String> command = entrant.command;
    if (entrant.output != Made.NOTHING) {
      Child.Cost rest = Child.run(List.of("sync", "-f", options.folder.toString()), out, err);
      if (rest.exitCode() != 0) {
        throw new IOException("sync ended with " + rest.exitCode());
      }
      command = new ArrayList<>(command);
      command.add(target.toString());
    }
    // What is printed may be long, and to cut it off takes its time.
    Files.deleteIfExists(out);
    if (entrant.fillsMemory) {
      memory.fill();
    }
    T answer = measurement.run(command, out, err);
    if (entrant.output == Made.FILE) {
      entrant.samples.made(Files.size(target));
    }
    Files.deleteIfExists(target);
    return answer;
  }
}
