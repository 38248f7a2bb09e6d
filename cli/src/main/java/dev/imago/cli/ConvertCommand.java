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
  private final Terminal terminal;
  private final ConvertOptions asked;

  private ConvertCommand(Terminal terminal, ConvertOptions asked) {
    this.terminal = terminal;
    this.asked = asked;
  }

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, ConvertOptions.ALL);
    ConvertOptions asked = new ConvertOptions(terminal);
    for (String option = options.next(); option != null; option = options.next()) {
      if (option.equals("help")) {
        return Help.command(terminal, "convert");
      }
      asked.take(option, options.value());
    }
    if (OptionList.asksForHelp(asked.list())) {
      CreateCommand.requireFormat(asked.targetFormat);
      boolean target = options.operands().size() > 1;
      terminal.print(FormatOption.describe(asked.targetFormat, target));
      return 0;
    }
    asked.requireSense();
    new ConvertCommand(terminal, asked).run(options.operands());
    return 0;
  }

  private void run(List<String> operands) throws Exception {
    if (operands.size() < 2) {
      throw new Failure("Must specify image file name");
    }
    CacheMode.source(asked.sourceCache);
    var progress =
        new ProgressOutput(
            terminal, "convert", asked.quiet ? ProgressOutput.Style.NONE : asked.style, 1);
    List<Image> sources = new ArrayList<>();
    boolean done = false;
    try {
      progress.begin();
      for (String operand : operands.subList(0, operands.size() - 1)) {
        Source source = Source.of(operand, asked.imageOpts, asked.sourceFormat);
        sources.add(Opening.image(source.name(), sourceOptions(source)));
      }
      if (asked.snapshot != null) {
        useSnapshot(
            sources,
            Source.of(operands.getFirst(), asked.imageOpts, asked.sourceFormat),
            asked.snapshot);
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
    CacheMode mode = CacheMode.source(asked.sourceCache);
    OpenOptions options =
        source
            .options(terminal.secrets())
            .direct(mode.direct())
            .sync(mode.sync())
            .forceShare(asked.forceShare);
    return asked.salvage == null ? options : options.rescue();
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
    if (asked.salvage == null || asked.quiet) {
      return;
    }
    for (Salvage.Hole hole : asked.salvage.holes()) {
      terminal.error(
          "warning: error while reading offset %d, %d bytes: %s"
              .formatted(hole.guestOffset(), hole.length(), hole.why()));
    }
    if (asked.salvage.more()) {
      terminal.error(
          "warning: there may be more such places; %d bytes could not be read, all together"
              .formatted(asked.salvage.bytes()));
    }
  }

  private void copy(List<Image> sources, String operand, ProgressOutput progress) throws Exception {
    if (asked.bitmaps) {
      ConvertBitmaps.requireThere(sources, asked.skipBroken);
    }
    long size = 0;
    for (Image source : sources) {
      size += source.size();
    }
    // Only an image that exists can be named by a list of options: -n is required.
    Source known =
        Source.of(
            operand,
            asked.targetImageOpts,
            asked.targetImageOpts ? asked.askedFormat : asked.targetFormat);
    FileName target = known.name();
    @Nullable CreateParameters parameters =
        asked.existing ? null : parameters(target, size, sources.size());
    CacheMode mode = CacheMode.target(asked.targetCache);
    Convert convert =
        Convert.from(sources.toArray(new Image[0]))
            .sparseSize(asked.sparse)
            .bitmaps(
                asked.bitmaps
                    ? asked.skipBroken ? Convert.Bitmaps.CONSISTENT : Convert.Bitmaps.ALL
                    : Convert.Bitmaps.NONE)
            .direct(mode.direct())
            .sync(mode.sync())
            .keepBacking(asked.backing != null)
            .compressed(asked.compressed)
            .compressionLevel(asked.compressionLevel)
            .compatWindow(asked.compatWindow)
            .deterministic(asked.deterministic)
            .offload(asked.offload)
            .rate(asked.rate)
            .references(
                Safety.referencesTo(
                    asked.backing == null || target.nodes() != null
                        ? null
                        : Images.resolveName(target.path(), asked.backing)))
            .progress(progress);
    if (asked.parallelism > 0) {
      convert = convert.parallelism(asked.parallelism);
    }
    if (asked.salvage != null) {
      convert = convert.salvage(asked.salvage);
    }
    if (parameters != null && target.nodes() == null) {
      create(convert, target, parameters, progress);
      progress.made();
    } else {
      boolean zero =
          asked.targetIsZero || parameters != null && createIn(target, parameters, sources);
      copyInto(convert.targetIsZero(zero), known, mode, size, sources);
    }
    if (asked.bitmaps) {
      ConvertBitmaps.warnOfSkipped(terminal, sources.getFirst());
    }
  }

  /** What the new image is to look like; may set {@link ConvertOptions#backing} from {@code -o}. */
  private CreateParameters parameters(FileName target, long size, int sources) throws Failure {
    CreateCommand.requireFormat(asked.targetFormat);
    target.requireLocal();
    CreateParameters parameters = new CreateParameters(terminal, asked.targetFormat);
    parameters.set(asked.list());
    parameters.set("size", Long.toString(size));
    parameters.setBacking(asked.backing, asked.backingFormat);
    asked.backing = parameters.get("backing_file");
    if (asked.backing != null && sources > 1) {
      throw new Failure(
          "Having a backing file for the target makes no sense when concatenating multiple input"
              + " images");
    }
    if (asked.backing != null && !parameters.has("backing_fmt")) {
      throw new Failure("Use of backing file requires explicit backing format");
    }
    if (asked.compressed) {
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
    if (asked.targetFormat.equals("raw")) {
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
    if (asked.bitmaps && (!asked.targetFormat.equals("qcow2") || options.version() < 3)) {
      throw ConvertBitmaps.notInTarget(asked.targetFormat);
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
      if (asked.bitmaps
          && (!asked.targetFormat.equals("qcow2")
              || parameters.toLibrary(Path.of("")).version() < 3)) {
        throw ConvertBitmaps.notInTarget(asked.targetFormat);
      }
      if (asked.backing != null) {
        CreateCommand.backing(target, asked.backing, parameters, false);
      }
      parameters.create(target, sources);
    } catch (Failure e) {
      throw whileConverting(target, e);
    }
    return asked.targetFormat.equals("qcow2") && asked.backing == null;
  }

  private Failure whileConverting(FileName target, Failure failure) {
    return new Failure(
        target.typed()
            + ": error while converting "
            + asked.targetFormat
            + ": "
            + failure.getMessage(),
        1,
        failure);
  }

  /** The image that the new one stands on must be there. */
  private void requireBacking(Path target, FileName name, CreateParameters parameters)
      throws Failure {
    if (asked.backing == null) {
      return;
    }
    Safety.vetBacking(target, asked.backing, parameters.get("backing_fmt"), true);
    String why;
    FileName typed = FileName.of(asked.backing);
    try {
      typed.requireLocal();
      Path path = Images.resolveName(target, typed.literal());
      FileName file = new FileName(path.toString(), path.toString());
      try {
        Images.open(
                path,
                Opening.options(parameters.get("backing_fmt"))
                    .forceShare(asked.forceShare)
                    .withoutKey())
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
    if (asked.compressed) {
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
                .compressionLevel(asked.compressionLevel)
                .compatWindow(asked.compatWindow))) {
      if (target.name().nodes() != null) {
        Exports.refuseSource(image.name(), sources);
      }
      if (image.size() < size) {
        throw new Failure("output file is smaller than input file");
      }
      if (asked.bitmaps && (!image.format().equals("qcow2") || !Qcow2.bitmaps(image).supported())) {
        throw ConvertBitmaps.notInTarget(asked.targetFormat);
      }
      try {
        convert.to(image);
      } catch (IllegalArgumentException e) {
        throw new Failure(String.valueOf(e.getMessage()), 1, e);
      }
    }
  }
}
