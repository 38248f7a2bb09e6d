package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** What {@code qemu-img} and Imago's command line are compared by. */
final class Rows {
  private static final Goal PLAIN_CONVERT = new Goal(1.0, 1.2);

  /** Of {@code qemu-img} as it comes. */
  private static final List<List<String>> UNTUNED = List.of(List.of());

  /** Ways to convert, of which now one and now the other is faster. */
  private static final List<List<String>> CONVERT_TUNINGS =
      List.of(List.of(), List.of("-W", "-m", "16"));

  /** The fastest way to compress. */
  private static final List<List<String>> COMPRESS_TUNINGS = List.of(List.of("-W", "-m", "8"));

  private final Inputs inputs;
  private final List<Case> cases = new ArrayList<>();

  private Rows(Inputs inputs) {
    this.inputs = inputs;
  }

  static List<Case> of(Inputs inputs) {
    var rows = new Rows(inputs);
    rows.converts();
    rows.compressed();
    rows.scatteredConverts();
    rows.emptyConverts();
    rows.looks();
    rows.requests();
    return rows.cases;
  }

  /** Something that makes an input, or finds it made. */
  private interface Source {
    Path path() throws IOException;
  }

  private void converts() {
    String data = size(inputs.dataBytes()) + " of random data";
    Source raw = inputs::random;
    Source qcow2 = inputs::randomQcow2;
    convert("raw → qcow2, " + data, PLAIN_CONVERT, raw, "raw", "qcow2");
    convert("qcow2 → raw, " + data, PLAIN_CONVERT, qcow2, "qcow2", "raw");
    String[] direct = {"-t", "none", "-T", "none"};
    String past = ", -t none -T none";
    convert("raw → qcow2, " + data + past, PLAIN_CONVERT, raw, "raw", "qcow2", direct);
    convert("qcow2 → raw, " + data + past, PLAIN_CONVERT, qcow2, "qcow2", "raw", direct);
    String files = "a file system with real files";
    convert("raw → qcow2, " + files, Goal.NONE, inputs::tree, "raw", "qcow2");
    convert("qcow2 → raw, " + files, Goal.NONE, inputs::treeQcow2, "qcow2", "raw");
  }

  private void compressed() {
    Source zlib = inputs::treeCompressed;
    convert("zlib-compressed qcow2 → raw, the same", Goal.wall(1.8), zlib, "qcow2", "raw");
    Source zstd = inputs::treeZstd;
    convert("zstd-compressed qcow2 → raw, the same", Goal.NONE, zstd, "qcow2", "raw");
    compress("raw → zlib-compressed qcow2, the same", Goal.wall(5));
    compress(
        "raw → zstd-compressed qcow2, the same", Goal.wall(1.5), "-o", "compression_type=zstd");
  }

  private void scatteredConverts() {
    String name = "sparse 1 TiB qcow2 with " + inputs.runs() + " extents → raw";
    convert(name, Goal.wall(2), inputs::sparse, "qcow2", "raw");
    name = "qcow2 → raw, " + inputs.runs() + " single clusters in random order";
    convert(name, Goal.NONE, inputs::fragmented, "qcow2", "raw");
    name = "qcow2 → raw, a chain of 8 overlays";
    convert(name, Goal.NONE, inputs::chain, "qcow2", "raw");
  }

  private void emptyConverts() {
    String nothing = ", 1 TiB of nothing";
    emptyConvert("qcow2 → qcow2" + nothing, inputs::emptyQcow2, "qcow2", "qcow2");
    emptyConvert("qcow2 → raw" + nothing, inputs::emptyQcow2, "qcow2", "raw");
    emptyConvert("raw → qcow2" + nothing, inputs::emptyRaw, "raw", "qcow2");
  }

  private void looks() {
    look("`info`", true, Goal.NONE, inputs::randomQcow2, "info");
    look("`info --output=json`", true, Goal.NONE, inputs::randomQcow2, "info", "--output=json");
    Source some = inputs::fragmented;
    String extents = " of " + inputs.runs() + " extents";
    look("`map`" + extents, true, Goal.NONE, some, "map");
    look("`map --output=json`" + extents, true, Goal.NONE, some, "map", "--output=json");
    look("`check` of the same", true, Goal.NONE, some, "check");
    Source many = inputs::manyExtents;
    extents = " of " + inputs.manyExtentsCount() + " extents";
    look("`map`" + extents, false, Goal.wall(1.3), many, "map");
    look("`map --output=json`" + extents, false, Goal.wall(1.3), many, "map", "--output=json");
    String clusters = (inputs.usedBytes() >> 16) + " clusters in use";
    look("`check` of " + clusters, false, Goal.wall(1.5), inputs::used, "check");
    String two = "`compare` of two equal images of " + size(inputs.dataBytes());
    add(
        two,
        false,
        Goal.wall(1.3),
        UNTUNED,
        Made.NOTHING,
        () ->
            List.of(
                "compare", inputs.randomQcow2().toString(), inputs.randomQcow2Twin().toString()));
  }

  /**
   * Requests of 4 KiB, each in another cluster, 64 in flight: `bench` of both programs. Writes go
   * into an image that is new for each run.
   */
  private void requests() {
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

  private void convert(
      String name, Goal goal, Source source, String from, String to, String... options) {
    add(
        name,
        false,
        goal,
        CONVERT_TUNINGS,
        Made.FILE,
        () -> {
          List<String> words = new ArrayList<>(List.of("convert", "-f", from, "-O", to));
          words.addAll(List.of(options));
          words.add(source.path().toString());
          return words;
        });
  }

  private void emptyConvert(String name, Source source, String from, String to) {
    add(
        name,
        true,
        Goal.NONE,
        UNTUNED,
        Made.FILE,
        () -> List.of("convert", "-f", from, "-O", to, source.path().toString()));
  }

  /** From the raw file system into a compressed image. */
  private void compress(String name, Goal goal, String... options) {
    add(
        name,
        false,
        goal,
        COMPRESS_TUNINGS,
        Made.FILE,
        () -> {
          List<String> words =
              new ArrayList<>(List.of("convert", "-c", "-f", "raw", "-O", "qcow2"));
          words.addAll(List.of(options));
          words.add(inputs.tree().toString());
          return words;
        });
  }

  private void look(String name, boolean shortRun, Goal goal, Source source, String... command) {
    add(
        name,
        shortRun,
        goal,
        UNTUNED,
        Made.NOTHING,
        () -> {
          List<String> words = new ArrayList<>(List.of(command));
          words.add(source.path().toString());
          return words;
        });
  }

  private void bench(String name, Source source, String... options) {
    add(
        name,
        false,
        Goal.NONE,
        UNTUNED,
        Made.NOTHING,
        () -> {
          List<String> words = benchWords(options);
          words.add(source.path().toString());
          return words;
        });
  }

  private void fill(String name, Made image, String... options) {
    add(name, false, Goal.NONE, UNTUNED, image, () -> benchWords(options));
  }

  private static List<String> benchWords(String... options) {
    List<String> words = new ArrayList<>(List.of("bench", "-t", "unsafe", "-f", "qcow2"));
    for (String option : options) {
      words.addAll(List.of(option.split(" ")));
    }
    return words;
  }

  private void add(
      String name,
      boolean shortRun,
      Goal goal,
      List<List<String>> tunings,
      Made output,
      Case.Words words) {
    cases.add(new Case(name, shortRun, goal, tunings, output, words));
  }

  private static String size(long bytes) {
    return bytes >= 1 << 30 ? (bytes >> 30) + " GiB" : (bytes >> 20) + " MiB";
  }
}
