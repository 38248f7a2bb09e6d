package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

/**
 * Runs QEMU's tools and Imago's command line in turn on the same inputs, checks that both made the
 * same of them, and prints what each took as a Markdown table.
 *
 * <p>Each round runs every program once; the order turns from round to round. What a program writes
 * is deleted before and after each run and the disk is let come to rest, outside the measured time:
 * otherwise a program pays for what the one before it wrote. An empty Java program, started just as
 * Imago is, runs in every round of the short cases.
 */
final class Compete {
  private static final List<String> ZSTD = List.of("-o", "compression_type=zstd");

  private final Options options;
  private final Inputs inputs;
  private final List<Row> rows = new ArrayList<>();

  private Compete(Options options) {
    this.options = options;
    this.inputs = new Inputs(options.folder, options.quick);
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
  }

  /**
   * One line of the table.
   *
   * @param note of what was compared, if the result was not the same; empty otherwise
   */
  private record Row(Case which, Samples qemu, Samples imago, Samples empty, String note) {}

  /** What a program makes. */
  enum Made {
    /** It only looks. */
    NOTHING,
    /** A file whose name is the last argument. */
    FILE,
    /** Contents of a new image, as long as the random data, whose name is the last argument. */
    IN_QCOW2,
    /** The same with extended L2 entries. */
    IN_EXTENDED
  }

  /**
   * One thing that both programs do.
   *
   * @param shortRun whether the start of the program is most of it
   * @param qemu command line without what is written
   * @param imago the same
   * @param output what it makes
   */
  private record Case(
      String name, boolean shortRun, List<String> qemu, List<String> imago, Made output) {}

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
        case "--quick" -> options.quick = true;
        default -> throw new IllegalArgumentException(args[i]);
      }
    }
    new Compete(options).run();
  }

  private void run() throws IOException {
    converts();
    emptyConverts();
    maps();
    requests();
    if (!rows.isEmpty()) {
      System.out.print(Report.table(rows.stream().map(Compete::line).toList()));
    }
    if (wanted("first write")) {
      System.out.print(
          "\n" + new FirstWrites(options.folder, inputs, options.java, rounds(true)).report());
    }
    var settings =
        new NbdRows.Settings(options.folder, options.imago, rounds(false), options.seconds);
    new NbdRows(settings, inputs).report(this::wanted, System.out);
  }

  private static Report.Line line(Row row) {
    return new Report.Line(
        row.which.name, row.which.shortRun, row.qemu, row.imago, row.empty, row.note);
  }

  private void converts() throws IOException {
    String size = size(inputs.dataBytes());
    convert("raw → qcow2, " + size + " of random data", inputs::random, "raw", "qcow2");
    convert("qcow2 → raw, " + size + " of random data", inputs::randomQcow2, "qcow2", "raw");
    convert("raw → qcow2, a file system with real files", inputs::tree, "raw", "qcow2");
    convert("qcow2 → raw, a file system with real files", inputs::treeQcow2, "qcow2", "raw");
    convert("zlib-compressed qcow2 → raw, the same", inputs::treeCompressed, "qcow2", "raw");
    convert("zstd-compressed qcow2 → raw, the same", inputs::treeZstd, "qcow2", "raw");
    compress("raw → zlib-compressed qcow2, the same, -c", List.of(), List.of());
    compress(
        "raw → zlib-compressed qcow2, the same, -c -W -m 8", List.of("-W", "-m", "8"), List.of());
    compress("raw → zstd-compressed qcow2, the same, -c -W -m 8", List.of("-W", "-m", "8"), ZSTD);
    String runs = "qcow2 → raw, " + inputs.runs() + " single clusters in random order";
    convert(runs, inputs::fragmented, "qcow2", "raw");
  }

  private void emptyConverts() throws IOException {
    convert("qcow2 → qcow2, 1 TiB of nothing (short)", inputs::emptyQcow2, "qcow2", "qcow2");
    convert("qcow2 → raw, 1 TiB of nothing (short)", inputs::emptyQcow2, "qcow2", "raw");
    convert("raw → qcow2, 1 TiB of nothing (short)", inputs::emptyRaw, "raw", "qcow2");
  }

  private void maps() throws IOException {
    look("`info` (short)", inputs::randomQcow2, "info");
    look("`info --output=json` (short)", inputs::randomQcow2, "info", "--output=json");
    String extents = "`map` of " + inputs.runs() + " extents (short)";
    look(extents, inputs::fragmented, "map");
    look(
        extents.replace("`map`", "`map --output=json`"),
        inputs::fragmented,
        "map",
        "--output=json");
    look("`check` of the same (short)", inputs::fragmented, "check");
    look("`compare` with itself, " + size(inputs.dataBytes()), inputs::randomQcow2, "compare");
  }

  /**
   * Requests of 4 KiB, each in another cluster, 64 in flight: `bench` of both programs. Writes go
   * into an image that is new for each run.
   */
  private void requests() throws IOException {
    String step = "-S 1089536"; // 16 2/3 clusters: no two of the first 100,000 in one place
    String count = "-c " + inputs.requests();
    String what = inputs.requests() + " reads of 4 KiB from ";
    bench(what + "zlib-compressed qcow2", inputs::treeCompressed, count, step);
    bench(what + "zstd-compressed qcow2", inputs::treeZstd, count, step);
    bench(what + "qcow2", inputs::randomQcow2, count, step);
    what = inputs.requests() + " allocating writes of 4 KiB to ";
    fill(what + "qcow2", Made.IN_QCOW2, count, "-S 65536", "-w");
    fill(what + "qcow2 with extended L2 entries", Made.IN_EXTENDED, count, "-S 65536", "-w");
    what = inputs.requests() + " writes of 4 KiB, one behind the other, to ";
    fill(what + "qcow2 with extended L2 entries", Made.IN_EXTENDED, count, "-w");
  }

  private void bench(String name, Source source, String... options) throws IOException {
    if (wanted(name)) {
      List<String> words = benchWords(options);
      words.add(source.path().toString());
      measure(name, words, Made.NOTHING);
    }
  }

  private void fill(String name, Made image, String... options) throws IOException {
    if (wanted(name)) {
      measure(name, benchWords(options), image);
    }
  }

  private static List<String> benchWords(String... options) {
    List<String> words = new ArrayList<>(List.of("bench", "-t", "unsafe", "-f", "qcow2"));
    for (String option : options) {
      words.addAll(List.of(option.split(" ")));
    }
    return words;
  }

  /** Something that makes an input, or finds it made. */
  private interface Source {
    Path path() throws IOException;
  }

  private void convert(String name, Source source, String from, String to) throws IOException {
    if (!wanted(name)) {
      return;
    }
    List<String> words = List.of("convert", "-f", from, "-O", to, source.path().toString());
    measure(name, words, Made.FILE);
  }

  /** As {@link #convert} from the raw file system into a compressed image. */
  private void compress(String name, List<String> speed, List<String> type) throws IOException {
    if (!wanted(name)) {
      return;
    }
    List<String> words = new ArrayList<>(List.of("convert", "-c", "-f", "raw", "-O", "qcow2"));
    words.addAll(speed);
    words.addAll(type);
    words.add(inputs.tree().toString());
    measure(name, words, Made.FILE);
  }

  private void look(String name, Source source, String... command) throws IOException {
    if (!wanted(name)) {
      return;
    }
    List<String> words = new ArrayList<>(List.of(command));
    words.add(source.path().toString());
    if (command[0].equals("compare")) {
      words.add(inputs.random().toString());
    }
    measure(name, words, Made.NOTHING);
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
    return shortRun ? 31 : 7;
  }

  private void measure(String name, List<String> words, Made output) throws IOException {
    boolean shortRun = name.endsWith("(short)");
    Case which =
        new Case(
            name.replace(" (short)", ""),
            shortRun,
            joined(List.of("qemu-img"), words),
            joined(options.imago, words),
            output);
    System.err.println("measuring " + which.name);
    String note;
    try {
      note = Verdict.on(options.folder, inputs, which.qemu, which.imago, output);
    } catch (IOException e) {
      System.err.println(e.getMessage());
      rows.add(new Row(which, new Samples(), new Samples(), new Samples(), "failed"));
      return;
    }
    var qemu = new Samples();
    var imago = new Samples();
    var empty = new Samples();
    for (int round = 0; round < rounds(shortRun); round++) {
      for (int turn = 0; turn < 3; turn++) {
        switch ((round + turn) % 3) {
          case 0 -> qemu.add(once(which.qemu, output));
          case 1 -> imago.add(once(which.imago, output));
          default -> empty.add(once(options.empty, Made.NOTHING));
        }
      }
    }
    qemu.peakKib(once(which.qemu, output, Child::peakKib));
    imago.peakKib(once(which.imago, output, Child::peakKib));
    rows.add(new Row(which, qemu, imago, empty, note));
  }

  private Child.Cost once(List<String> command, Made output) throws IOException {
    Child.Cost cost = once(command, output, Child::run);
    if (cost.exitCode() != 0) {
      throw new IOException(String.join(" ", command) + " ended with " + cost.exitCode());
    }
    return cost;
  }

  /** A way to run a program and learn something of it. */
  private interface Measurement<T> {
    T run(List<String> command, Path out, Path err) throws IOException;
  }

  private <T> T once(List<String> command, Made output, Measurement<T> measurement)
      throws IOException {
    Path target = options.folder.resolve("target");
    Path out = options.folder.resolve("out");
    Path err = options.folder.resolve("err");
    Files.deleteIfExists(target);
    inputs.begin(output, target);
    if (output != Made.NOTHING) {
      Child.Cost rest = Child.run(List.of("sync", "-f", options.folder.toString()), out, err);
      if (rest.exitCode() != 0) {
        throw new IOException("sync ended with " + rest.exitCode());
      }
    }
    T answer =
        measurement.run(
            output == Made.NOTHING ? command : joined(command, List.of(target.toString())),
            out,
            err);
    Files.deleteIfExists(target);
    return answer;
  }

  private static List<String> joined(List<String> first, List<String> second) {
    List<String> all = new ArrayList<>(first);
    all.addAll(second);
    return all;
  }

  private static String size(long bytes) {
    return bytes >= 1 << 30 ? (bytes >> 30) + " GiB" : (bytes >> 20) + " MiB";
  }
}
