package dev.imago.cli;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.Rebase;
import dev.imago.RebaseException;
import dev.imago.image.Image;
import java.io.IOException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** {@code rebase}: puts an image onto another backing file. */
final class RebaseCommand {
  private static final Option[] OPTIONS = {
    Option.flag('h', "help"),
    Option.value('f'),
    new Option('b', "backing", true),
    new Option('F', "backing-format", true),
    new Option('B', "backing-format", true),
    Option.value('t'),
    Option.value('T'),
    Option.flag('u', "backing-unsafe"),
    Option.flag('p'),
    Option.flag('q'),
    Option.flag('U', "force-share"),
    Option.flag('c', "compress"),
    Option.value("progress"),
    Option.value("object"),
    Option.flag("image-opts")
  };

  private RebaseCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    GetOpt options = new GetOpt(args, 0, true, OPTIONS);
    String format = null;
    String backing = null;
    String backingFormat = null;
    String cache = "writeback";
    String sourceCache = "writeback";
    boolean unsafe = false;
    boolean quiet = false;
    boolean share = false;
    boolean compressed = false;
    boolean imageOpts = false;
    ProgressOutput.Style style = ProgressOutput.Style.NONE;
    for (String option = options.next(); option != null; option = options.next()) {
      switch (option) {
        case "help" -> {
          return Help.command(terminal, "rebase");
        }
        case "f" -> format = options.value();
        case "backing" -> backing = options.value();
        case "backing-format" -> backingFormat = options.value();
        case "t" -> cache = options.value();
        case "T" -> sourceCache = options.value();
        case "backing-unsafe" -> unsafe = true;
        case "p" -> style = ProgressOutput.Style.HUMAN;
        case "q" -> quiet = true;
        // Of the new backing file alone, as with qemu-img: the image itself is written to.
        case "force-share" -> share = true;
        case "compress" -> compressed = true;
        case "progress" -> style = ProgressOutput.style(options.value());
        case "object" -> terminal.secrets().add(options.value());
        default -> imageOpts = true;
      }
    }
    String typed = options.onlyFile().typed();
    if (!unsafe && backing == null) {
      throw new UsageException("Must specify backing file (-b) or use unsafe mode (-u)");
    }
    var progress =
        new ProgressOutput(terminal, "rebase", quiet ? ProgressOutput.Style.NONE : style, 2);
    boolean done = false;
    try {
      progress.begin();
      CacheMode mode = CacheMode.target(cache);
      CacheMode sourceMode = CacheMode.source(sourceCache);
      Source source = Source.of(typed, imageOpts, format);
      FileName name = source.name();
      OpenOptions how = source.options(terminal.secrets()).direct(mode.direct()).sync(mode.sync());
      look(terminal, name, how, unsafe, backingFormat);
      if (backing != null && !backing.isEmpty()) {
        Safety.vetBacking(name.place(), backing, backingFormat, !unsafe);
      }
      Rebase rebase =
          rebase(backing, backingFormat)
              .options(how)
              .unsafe(unsafe)
              .direct(sourceMode.direct())
              .forceShare(share)
              .compressed(compressed || compresses(name))
              .progress(progress);
      rebase(rebase, name, backing == null ? "" : backing);
      progress.end();
      done = true;
    } finally {
      if (!done) {
        progress.stop();
      }
    }
    return 0;
  }

  /** Whether the image is named with the filter that compresses. */
  private static boolean compresses(FileName name) {
    BlockOptions nodes = name.nodes();
    return nodes != null && "compress".equals(nodes.copy().take("driver"));
  }

  private static Rebase rebase(@Nullable String backing, @Nullable String format) {
    if (backing == null || backing.isEmpty()) {
      return Rebase.ontoNothing();
    }
    return Rebase.onto(backing, format == null ? "" : format);
  }

  /** Opens the image once to say in time what is wrong with the request. */
  private static void look(
      Terminal terminal,
      FileName name,
      OpenOptions how,
      boolean unsafe,
      @Nullable String backingFormat)
      throws Failure, IOException {
    OpenOptions writable = how.writable(true);
    try (Image image = Opening.image(name, unsafe ? writable.withoutBacking() : writable)) {
      if (how.format() == null && image.format().equals("raw")) {
        Opening.warnOfProbing(terminal, name);
      }
    }
    if (backingFormat != null && !CreateParameters.isFormat(backingFormat)) {
      throw new Failure("Invalid format name: '" + backingFormat + "'");
    }
  }

  private static void rebase(Rebase rebase, FileName name, String backing) throws Failure {
    Path path = name.place();
    try {
      rebase.run(path, Opening.opener(name.withoutFilters()));
    } catch (RebaseException e) {
      throw new Failure(describe(e, name, path, backing), 1, e);
    } catch (IOException e) {
      throw Errors.opening(name, e, 1);
    }
  }

  private static String describe(RebaseException thrown, FileName name, Path path, String backing) {
    String why =
        thrown.getCause() instanceof IOException cause
            ? Errors.text(cause)
            : String.valueOf(thrown.getMessage());
    return switch (thrown.step()) {
      case OPENING_BACKING -> {
        Path named = Images.resolveName(path, backing);
        FileName file = new FileName(named.toString(), named.toString());
        yield "Could not open new backing file '"
            + backing
            + "': "
            + (thrown.getCause() instanceof IOException cause
                ? Errors.whyNotNamed(new FileName(name.typed(), path.toString()), file, cause)
                : why);
      }
      case COPYING -> "error while copying from the old backing file: " + why;
      case CHANGING_HEADER -> "Could not change the backing file to '" + backing + "': " + why;
    };
  }
}
