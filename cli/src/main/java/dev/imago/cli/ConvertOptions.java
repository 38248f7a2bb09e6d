package dev.imago.cli;

import dev.imago.Salvage;
import org.jspecify.annotations.Nullable;

/** What a command line of {@code convert} asks for. */
final class ConvertOptions {
  private static final int MAX_SPARSE = 16 << 20;

  static final Option[] ALL = {
    Option.flag('h', "help"),
    Option.value('f'),
    Option.value('O'),
    Option.value('o'),
    Option.value('t'),
    Option.value('T'),
    new Option('B', "backing", true),
    new Option('b', "backing", true),
    new Option('F', "backing-format", true),
    Option.value('S'),
    Option.value('m'),
    Option.flag('W'),
    Option.flag('C'),
    Option.flag('c'),
    Option.flag('n'),
    Option.flag('p'),
    Option.flag('q'),
    Option.flag('U', "force-share"),
    Option.flag("target-is-zero"),
    Option.value("progress"),
    Option.flag("deterministic"),
    Option.value("compression-level"),
    Option.value("compat-window"),
    Option.value('l'),
    Option.value('r'),
    Option.value("object"),
    Option.flag("image-opts"),
    Option.flag("target-image-opts"),
    Option.flag("bitmaps"),
    Option.flag("skip-broken-bitmaps"),
    Option.flag("salvage")
  };

  private final Terminal terminal;
  private final StringBuilder list = new StringBuilder();
  @Nullable String sourceFormat;
  @Nullable String askedFormat;
  String targetFormat = "raw";
  String targetCache = "unsafe";
  String sourceCache = "writeback";

  /** As it was given, or as {@code -o} has it once that was looked at. */
  @Nullable String backing;

  @Nullable String backingFormat;
  @Nullable String snapshot;
  int sparse = 4096;
  int parallelism;
  long rate;
  private boolean sparseAsked;
  boolean offload;
  boolean compressed;
  int compressionLevel = -1;
  boolean compatWindow;
  boolean deterministic;
  boolean existing;
  boolean quiet;
  boolean forceShare;
  boolean targetIsZero;
  @Nullable Salvage salvage;
  boolean bitmaps;
  boolean skipBroken;
  boolean imageOpts;
  boolean targetImageOpts;
  ProgressOutput.Style style = ProgressOutput.Style.NONE;

  ConvertOptions(Terminal terminal) {
    this.terminal = terminal;
  }

  /** All options of the new image, as they were given. */
  String list() {
    return list.toString();
  }

  /** Takes one in. */
  void take(String option, String value) throws Failure {
    switch (option) {
      case "f" -> sourceFormat = value;
      case "O" -> {
        askedFormat = value;
        targetFormat = value;
      }
      case "o" -> CreateCommand.append(list, value);
      case "t" -> targetCache = value;
      case "T" -> sourceCache = value;
      case "backing" -> backing = value;
      case "backing-format" -> backingFormat = value;
      case "S" -> sparse = sparse(value);
      case "r" -> rate = Size.require(terminal, "rate limit", value, 0, Long.MAX_VALUE);
      case "m" -> parallelism = parallelism(value);
      // Several threads write wherever they are: the order is never kept.
      case "W" -> {}
      case "C" -> offload = true;
      case "c" -> compressed = true;
      case "n" -> existing = true;
      case "p" -> style = ProgressOutput.Style.HUMAN;
      case "q" -> quiet = true;
      case "force-share" -> forceShare = true;
      case "salvage" -> salvage = new Salvage();
      case "target-is-zero" -> targetIsZero = true;
      case "deterministic" -> deterministic = true;
      case "compression-level" -> compressionLevel = level(value);
      case "compat-window" -> compatWindow = compatWindow(value);
      case "l" -> {
        SnapshotCommand.requireValid(value);
        snapshot = value;
      }
      case "bitmaps" -> bitmaps = true;
      case "skip-broken-bitmaps" -> skipBroken = true;
      case "progress" -> style = ProgressOutput.style(value);
      case "object" -> terminal.secrets().add(value);
      case "image-opts" -> imageOpts = true;
      case "target-image-opts" -> targetImageOpts = true;
      default -> throw new IllegalArgumentException(option);
    }
  }

  private int sparse(String text) throws Failure {
    sparseAsked = true;
    String noun = "buffer size for sparse output";
    long size = Size.require(terminal, noun, text, 0, Long.MAX_VALUE);
    if (size % 512 != 0 || size > MAX_SPARSE) {
      throw new Failure(
          "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to "
              + MAX_SPARSE
              + ". Select 0 to disable sparse detection (fully allocates output).");
    }
    return (int) size;
  }

  private static int parallelism(String text) throws Failure {
    int number = 0;
    if (text.matches("[0-9]{1,3}")) {
      number = Integer.parseInt(text);
    }
    if (number < 1 || number > 16) {
      throw new Failure(
          "Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
    }
    return number;
  }

  private static int level(String text) throws Failure {
    int number = text.matches("[0-9]{1,2}") ? Integer.parseInt(text) : 0;
    if (number < 1 || number > 22) {
      throw new Failure("Invalid compression level. Allowed are 1 to 9 for zlib, 1 to 22 for zstd");
    }
    return number;
  }

  private static boolean compatWindow(String text) throws Failure {
    if (!text.equals("12") && !text.equals("15")) {
      throw new Failure("Invalid window. Allowed are 12 (4 KiB) and 15 (32 KiB)");
    }
    return text.equals("12");
  }

  /** Refuses options that contradict each other. */
  void requireSense() throws Failure {
    if (skipBroken && !bitmaps) {
      throw new Failure("Use of --skip-broken-bitmaps requires --bitmaps");
    }
    if (offload && compressed) {
      throw new Failure("Cannot enable copy offloading when -c is used");
    }
    if (!compressed && (compressionLevel > 0 || compatWindow)) {
      throw new Failure("--compression-level and --compat-window require use of -c flag");
    }
    if (offload && sparseAsked) {
      throw new Failure("Cannot enable copy offloading when -S is used");
    }
    if (offload && salvage != null) {
      throw new Failure("Cannot use copy offloading in salvaging mode");
    }
    if (existing && !list.isEmpty()) {
      throw new Failure("-o has no effect when skipping image creation");
    }
    if (targetImageOpts && !existing) {
      throw new Failure("--target-image-opts requires use of -n flag");
    }
    if (targetIsZero && !existing) {
      throw new Failure("--target-is-zero requires use of -n flag");
    }
  }
}
