package dev.imago.cli;

import dev.imago.Convert;
import dev.imago.ConvertException;
import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.Salvage;
import dev.imago.image.Image;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code convert}: copies what guests see in images into another image. */
final class ConvertCommand {
  private static final int MAX_SPARSE = 16 << 20;

  private static final Option[] OPTIONS = {
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
  private @Nullable String sourceFormat;
  private @Nullable String askedFormat;
  private String targetFormat = "raw";
  private final StringBuilder list = new StringBuilder();
  private String targetCache = "unsafe";
  private String sourceCache = "writeback";
  private @Nullable String backing;
  private @Nullable String backingFormat;
  private @Nullable String snapshot;
  private int sparse = 4096;
  private int parallelism;
  private long rate;
  private boolean sparseAsked;
  private boolean offload;
  private boolean compressed;
  private int compressionLevel = -1;
  private boolean compatWindow;
  private boolean deterministic;
  private boolean existing;
  private boolean quiet;
  private boolean forceShare;
  private boolean targetIsZero;
  private @Nullable Salvage salvage;
  private boolean bitmaps;
  private boolean skipBroken;
  private boolean imageOpts;
  private boolean targetImageOpts;
  private ProgressOutput.Style style = ProgressOutput.Style.NONE;

  private ConvertCommand(Terminal terminal) {
    this.terminal = terminal;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    ConvertCommand command = new ConvertCommand(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "convert");
      }
      command.take(option, options.value());
    }
    if (OptionList.asksForHelp(command.list.toString())) {
      CreateCommand.requireFormat(command.targetFormat);
      boolean target = options.operands().size() > 1;
      terminal.print(FormatOption.describe(command.targetFormat, target));
      return 0;
    }
    command.requireSense();
    command.run(options.operands());
    return 0;
  }

  private void take(String option, String value) throws Failure {
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
      // The library lets the kernel copy where that is possible, asked or not.
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
  private void requireSense() throws Failure {
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

  private void run(List<String> operands) throws Exception {
    if (operands.size() < 2) {
      throw new Failure("Must specify image file name");
    }
    CacheMode.source(sourceCache);
    var progress =
        new ProgressOutput(terminal, "convert", quiet ? ProgressOutput.Style.NONE : style, 1);
    List<Image> sources = new ArrayList<>();
    boolean done = false;
    try {
      progress.begin();
      for (String operand : operands.subList(0, operands.size() - 1)) {
        Source source = Source.of(operand, imageOpts, sourceFormat);
        sources.add(Opening.image(source.name(), sourceOptions(source)));
      }
      if (snapshot != null) {
        useSnapshot(sources, Source.of(operands.getFirst(), imageOpts, sourceFormat), snapshot);
      }
      copy(sources, operands.getLast(), progress);
      progress.end();
      tellHoles();
      done = true;
    } finally {
      if (!done) {
        progress.stop();
      }
      for (Image source : sources) {
        source.close();
      }
    }
  }

  private OpenOptions sourceOptions(Source source) throws Failure {
    CacheMode mode = CacheMode.source(sourceCache);
    OpenOptions options =
        source
            .options(terminal.secrets())
            .direct(mode.direct())
            .sync(mode.sync())
            .forceShare(forceShare);
    return salvage == null ? options : options.rescue();
  }

  /** Opens the only source anew, as it was when a snapshot of it was made. */
  private void useSnapshot(List<Image> sources, Source source, String wanted) throws Exception {
    if (sources.size() > 1) {
      throw new Failure("No support for concatenating multiple snapshot");
    }
    String id = SnapshotCommand.find(sources.getFirst(), wanted);
    sources.removeFirst().close();
    sources.add(Opening.image(source.name(), sourceOptions(source).snapshot(id)));
  }

  /** What could not be read. */
  private void tellHoles() {
    if (salvage == null || quiet) {
      return;
    }
    for (Salvage.Hole hole : salvage.holes()) {
      terminal.error(
          "warning: error while reading offset %d, %d bytes: %s"
              .formatted(hole.guestOffset(), hole.length(), hole.why()));
    }
    if (salvage.more()) {
      terminal.error(
          "warning: there may be more such places; %d bytes could not be read, all together"
              .formatted(salvage.bytes()));
    }
  }

  private void copy(List<Image> sources, String operand, ProgressOutput progress) throws Exception {
    if (bitmaps) {
      ConvertBitmaps.requireThere(sources, skipBroken);
    }
    long size = 0;
    for (Image source : sources) {
      size += source.size();
    }
    // Only an image that exists can be named by a list of options: -n is required.
    Source known =
        Source.of(operand, targetImageOpts, targetImageOpts ? askedFormat : targetFormat);
    FileName target = known.name();
    @Nullable CreateParameters parameters =
        existing ? null : parameters(target, size, sources.size());
    CacheMode mode = CacheMode.target(targetCache);
    Convert convert =
        Convert.from(sources.toArray(new Image[0]))
            .sparseSize(sparse)
            .bitmaps(
                bitmaps
                    ? skipBroken ? Convert.Bitmaps.CONSISTENT : Convert.Bitmaps.ALL
                    : Convert.Bitmaps.NONE)
            .direct(mode.direct())
            .sync(mode.sync())
            .keepBacking(backing != null)
            .compressed(compressed)
            .compressionLevel(compressionLevel)
            .compatWindow(compatWindow)
            .deterministic(deterministic)
            .rate(rate)
            .references(
                Safety.referencesTo(
                    backing == null || target.nodes() != null
                        ? null
                        : Images.resolveName(target.path(), backing)))
            .progress(progress);
    if (parallelism > 0) {
      convert = convert.parallelism(parallelism);
    }
    if (salvage != null) {
      convert = convert.salvage(salvage);
    }
    if (parameters != null && target.nodes() == null) {
      create(convert, target, parameters, progress);
      progress.made();
    } else {
      boolean zero = targetIsZero || parameters != null && createIn(target, parameters, sources);
      copyInto(convert.targetIsZero(zero), known, mode, size, sources);
    }
    if (bitmaps) {
      ConvertBitmaps.warnOfSkipped(terminal, sources.getFirst());
    }
  }

  /** What the new image is to look like; may set {@link #backing} from {@code -o}. */
  private CreateParameters parameters(FileName target, long size, int sources) throws Failure {
    CreateCommand.requireFormat(targetFormat);
    target.requireLocal();
    CreateParameters parameters = new CreateParameters(terminal, targetFormat);
    parameters.set(list.toString());
    parameters.set("size", Long.toString(size));
    parameters.setBacking(backing, backingFormat);
    backing = parameters.get("backing_file");
    if (backing != null && sources > 1) {
      throw new Failure(
          "Having a backing file for the target makes no sense when concatenating multiple input"
              + " images");
    }
    if (backing != null && !parameters.has("backing_fmt")) {
      throw new Failure("Use of backing file requires explicit backing format");
    }
    if (compressed) {
      requireCompressible();
      if (parameters.encrypted()) {
        throw new Failure("Compression and encryption not supported at the same time");
      }
      String preallocation = parameters.get("preallocation");
      if (preallocation != null && !preallocation.equals("off")) {
        throw new Failure("Compression and preallocation not supported at the same time");
      }
      if (parameters.has("data_file")) {
        throw new Failure("Compression and a data file not supported at the same time");
      }
    }
    return parameters;
  }

  private void requireCompressible() throws Failure {
    if (targetFormat.equals("raw")) {
      throw new Failure("Compression not supported for this file format");
    }
  }

  private void create(
      Convert convert, FileName target, CreateParameters parameters, ProgressOutput progress)
      throws Failure, ConvertException {
    Path path;
    CreateOptions options;
    try {
      path = target.newPath();
      options = parameters.toLibrary(path);
    } catch (Failure e) {
      throw whileConverting(target, e);
    }
    if (bitmaps && (!targetFormat.equals("qcow2") || options.version() < 3)) {
      throw ConvertBitmaps.notInTarget(targetFormat);
    }
    requireBacking(path, target, parameters);
    progress.making(Files.exists(path, LinkOption.NOFOLLOW_LINKS) ? null : path);
    try {
      convert.to(path, options);
    } catch (ConvertException e) {
      throw e;
    } catch (IOException e) {
      throw whileConverting(target, parameters.notCreated(target, e));
    } catch (IllegalArgumentException e) {
      throw whileConverting(target, new Failure(String.valueOf(e.getMessage()), 1, e));
    }
  }

  /** Makes the image in an export; whether all of it reads as zero then. */
  private boolean createIn(FileName target, CreateParameters parameters, List<Image> sources)
      throws Failure {
    try {
      if (bitmaps
          && (!targetFormat.equals("qcow2") || parameters.toLibrary(Path.of("")).version() < 3)) {
        throw ConvertBitmaps.notInTarget(targetFormat);
      }
      if (backing != null) {
        CreateCommand.backing(target, backing, parameters, false);
      }
      parameters.create(target, sources);
    } catch (Failure e) {
      throw whileConverting(target, e);
    }
    return targetFormat.equals("qcow2") && backing == null;
  }

  private Failure whileConverting(FileName target, Failure failure) {
    return new Failure(
        target.typed() + ": error while converting " + targetFormat + ": " + failure.getMessage(),
        1,
        failure);
  }

  /** The image that the new one stands on must be there. */
  private void requireBacking(Path target, FileName name, CreateParameters parameters)
      throws Failure {
    if (backing == null) {
      return;
    }
    Safety.vetBacking(target, backing, parameters.get("backing_fmt"), true);
    String why;
    FileName typed = FileName.of(backing);
    try {
      typed.requireLocal();
      Path path = Images.resolveName(target, typed.literal());
      FileName file = new FileName(path.toString(), path.toString());
      try {
        Images.open(
                path,
                Opening.options(parameters.get("backing_fmt")).forceShare(forceShare).withoutKey())
            .close();
        return;
      } catch (IOException e) {
        why = Errors.whyNotOpen(file, e);
      }
    } catch (Failure e) {
      why = e.getMessage();
    }
    throw new Failure("Could not open '" + name.typed() + "': Could not open backing file: " + why);
  }

  private void copyInto(
      Convert convert, Source target, CacheMode mode, long size, List<Image> sources)
      throws Exception {
    if (compressed) {
      requireCompressible();
    }
    try (Image image =
        Opening.image(
            target.name(),
            target
                .options(terminal.secrets())
                .writable(true)
                .direct(mode.direct())
                .sync(mode.sync())
                .compressionLevel(compressionLevel)
                .compatWindow(compatWindow))) {
      if (target.name().nodes() != null) {
        Exports.refuseSource(image.name(), sources);
      }
      if (image.size() < size) {
        throw new Failure("output file is smaller than input file");
      }
      if (bitmaps && (!image.format().equals("qcow2") || !Qcow2.bitmaps(image).supported())) {
        throw ConvertBitmaps.notInTarget(targetFormat);
      }
      try {
        convert.to(image);
      } catch (IllegalArgumentException e) {
        throw new Failure(String.valueOf(e.getMessage()), 1, e);
      }
    }
  }
}
